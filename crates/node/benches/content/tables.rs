//! How figures of several rounds are written.

use crate::common::{median, times};

/// Returns the median, and the least and the most.
pub(crate) fn summary(figures: Vec<f64>, digits: usize) -> String {
    let (middle, least, most) = ends(figures);
    format!("{middle:.digits$} ({least:.digits$}–{most:.digits$})")
}

/// The same for ratios.
pub(crate) fn spread(figures: Vec<f64>) -> String {
    let (middle, least, most) = ends(figures);
    format!("{} ({least:.2}–{most:.2})", times(middle))
}

fn ends(mut figures: Vec<f64>) -> (f64, f64, f64) {
    let middle = median(&mut figures);
    let (least, most) = (figures.first(), figures.last());
    (middle, least.copied().unwrap_or_default(), most.copied().unwrap_or_default())
}
