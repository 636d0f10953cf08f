//! A list of steps that all run, are counted, and are summed up in one line.
//!
//! Invariant: nothing is left out in silence. A step that this machine cannot run says what it
//! needs and is counted as skipped; on a build machine (`CI=true`) the same lack is a failure.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::shell::say;

/// How a step ended, when nothing went wrong.
pub(crate) enum Outcome {
    /// It ran and held.
    Passed,
    /// This machine lacks something that every build machine must have.
    Needs(String),
    /// This machine lacks something that not even a build machine must have.
    Unavailable(String),
}

/// Runs steps and counts them.
pub(crate) struct Steps {
    strict: bool,
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
}

impl Steps {
    /// Starts a list; strict when the environment says `CI=true`.
    pub(crate) fn new() -> Self {
        Self::with(std::env::var("CI").is_ok_and(|value| value == "true"))
    }

    fn with(strict: bool) -> Self {
        Self { strict, passed: 0, failed: Vec::new(), skipped: Vec::new() }
    }

    /// Runs one step and goes on whatever comes of it.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<Outcome>) {
        say(&format!("== {name}"));
        let start = Instant::now();
        let result = step();
        let seconds = start.elapsed().as_secs_f32();
        match result {
            Ok(Outcome::Passed) => {
                self.passed += 1;
                say(&format!("== {name}: passed in {seconds:.1} s\n"));
            }
            Ok(Outcome::Needs(what)) if self.strict => {
                say(&format!("== {name}: failed: needs {what}, which CI=true requires\n"));
                self.failed.push(format!("{name}: needs {what}"));
            }
            Ok(Outcome::Needs(what) | Outcome::Unavailable(what)) => {
                say(&format!("== {name}: skipped: needs {what}\n"));
                self.skipped.push(format!("{name}: needs {what}"));
            }
            Err(error) => {
                say(&format!("== {name}: failed in {seconds:.1} s: {error:#}\n"));
                self.failed.push(format!("{name}: {error:#}"));
            }
        }
    }

    /// Prints what did not pass and the counts, the counts on the last line.
    ///
    /// # Errors
    /// When a step failed.
    pub(crate) fn finish(self) -> Result<()> {
        for line in &self.skipped {
            say(&format!("skipped {line}"));
        }
        for line in &self.failed {
            say(&format!("failed {line}"));
        }
        say(&self.counts());
        if !self.failed.is_empty() {
            bail!("{} of the steps failed", self.failed.len());
        }
        Ok(())
    }

    fn counts(&self) -> String {
        format!(
            "{} passed, {} failed, {} skipped",
            self.passed,
            self.failed.len(),
            self.skipped.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacking(strict: bool) -> Steps {
        let mut steps = Steps::with(strict);
        steps.run("good", || Ok(Outcome::Passed));
        steps.run("tool", || Ok(Outcome::Needs("a tool".into())));
        steps.run("database", || Ok(Outcome::Unavailable("a database".into())));
        steps
    }

    #[test]
    fn what_is_lacking_is_skipped_and_counted() {
        let steps = lacking(false);
        assert_eq!(steps.counts(), "1 passed, 0 failed, 2 skipped");
        assert!(steps.finish().is_ok());
    }

    #[test]
    fn a_build_machine_must_not_lack_it() {
        let steps = lacking(true);
        assert_eq!(steps.counts(), "1 passed, 1 failed, 1 skipped");
        assert!(steps.finish().is_err());
    }

    #[test]
    fn a_failure_stops_nothing_and_is_told() {
        let mut steps = Steps::with(false);
        steps.run("bad", || bail!("broken"));
        steps.run("good", || Ok(Outcome::Passed));
        assert_eq!(steps.counts(), "1 passed, 1 failed, 0 skipped");
        assert!(steps.finish().is_err());
    }
}
