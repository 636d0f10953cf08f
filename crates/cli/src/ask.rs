//! Questions to the person at the terminal, and texts that come from standard input.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use anyhow::Context as _;
use ayni::limits::MAX_TEXT;

use crate::exit::{Code, failure};

/// Asks before something that cannot be taken back.
///
/// Only a person at a terminal is asked: `--yes` answers, and so does a script's standard input.
///
/// # Errors
/// With [`Code::Other`] when the person does not say yes.
pub(crate) async fn confirm(question: String, yes: bool) -> anyhow::Result<()> {
    if yes || !io::stdin().is_terminal() {
        return Ok(());
    }
    let answer = tokio::task::spawn_blocking(move || -> io::Result<String> {
        write!(io::stderr(), "{question} [y/N] ")?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        Ok(answer)
    });
    let answer = answer.await.context("ask at the terminal")?.context("ask at the terminal")?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(failure(Code::Other, "nothing was done")),
    }
}

/// Returns the text that an argument stands for: itself, or standard input when it is `-`.
///
/// # Errors
/// With [`Code::Invalid`] when the text is empty, too large, or not UTF-8.
pub(crate) async fn text(argument: String) -> anyhow::Result<String> {
    let text = if argument == "-" {
        // One byte more than allowed, and the newline that is dropped.
        let bytes = stdin(MAX_TEXT + 2).await?;
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes).to_vec();
        String::from_utf8(bytes).map_err(|_| failure(Code::Invalid, "this is not UTF-8 text"))?
    } else {
        argument
    };
    if text.is_empty() {
        return Err(failure(Code::Invalid, "an empty text cannot be sent"));
    }
    if text.len() > MAX_TEXT {
        let told = format!("this text is larger than {} KiB", MAX_TEXT / 1024);
        return Err(failure(Code::Invalid, told));
    }
    Ok(text)
}

/// Returns the bytes that an argument stands for: itself, or standard input, untouched, when it is
/// `-`; at most `most` bytes are read.
pub(crate) async fn bytes(argument: Option<String>, most: usize) -> anyhow::Result<Vec<u8>> {
    match argument {
        None => Ok(Vec::new()),
        Some(text) if text == "-" => stdin(most).await,
        Some(text) => Ok(text.into_bytes()),
    }
}

async fn stdin(most: usize) -> anyhow::Result<Vec<u8>> {
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        io::stdin().lock().take(most).read_to_end(&mut bytes).map(|_| bytes)
    });
    read.await.context("read standard input")?.context("read standard input")
}
