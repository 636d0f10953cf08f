//! Tickets as QR codes, for phones that look at the terminal.

use anyhow::Context as _;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

/// Draws a text in half blocks. Digits and upper case need a smaller code than anything else.
pub(crate) fn draw(text: &str) -> anyhow::Result<String> {
    let code = QrCode::with_error_correction_level(text, qrcode::EcLevel::L);
    let code = code.context("this ticket is too long to be drawn")?;
    // Light on dark, as most terminals are; the readers that matter take both.
    let mut renderer = code.render::<Dense1x2>();
    Ok(renderer.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_can_be_drawn() {
        let ticket = format!("ayni{}", "a2b3c4d5".repeat(40));
        let large = draw(&ticket).expect("it fits");
        let small = draw(&ticket.to_ascii_uppercase()).expect("it fits");
        assert!(small.lines().count() > 20 && small.contains('▄'));
        assert!(small.lines().count() < large.lines().count());
    }
}
