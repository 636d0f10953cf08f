//! How a command ends: the exit code, and the one line that explains it.
//!
//! Scripts rely on the codes, so they follow from the kind of an error and never from its text.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use ayni::ErrorKind;
use ayni_web::ClientError;
use ayni_web::api::ErrorCode;

use crate::output::{self, Unwritten};

/// The exit codes, as `docs/cli.md` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// Done.
    Done = 0,
    /// Anything that has no code of its own.
    Other = 1,
    /// A malformed argument or ticket, an ambiguous name, an empty or too large text.
    Invalid = 2,
    /// No such room, peer, account or service.
    NotFound = 3,
    /// Not permitted; a ticket that is expired, used up or revoked; a folder in use.
    Denied = 4,
    /// Unreachable, or too late.
    Unreachable = 5,
}

impl From<ErrorKind> for Code {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Invalid => Self::Invalid,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Denied => Self::Denied,
            ErrorKind::Unreachable => Self::Unreachable,
            _ => Self::Other,
        }
    }
}

impl From<ErrorCode> for Code {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::Invalid => Self::Invalid,
            ErrorCode::NotFound => Self::NotFound,
            ErrorCode::Denied => Self::Denied,
            ErrorCode::Unreachable => Self::Unreachable,
            ErrorCode::Internal => Self::Other,
        }
    }
}

/// A failure that this crate found itself.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Makes a failure with a code.
pub(crate) fn failure(code: Code, message: impl Into<String>) -> anyhow::Error {
    Failure { code, message: message.into() }.into()
}

/// Ends the process's work: explains a failure in one line and returns the exit code.
///
/// A reader that went away (`ayni log ROOM | head`) is no failure: it has what it wanted.
pub(crate) fn report(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return Code::Done.into() };
    if is_broken_pipe(&error) {
        return Code::Done.into();
    }
    complain(&format!("{error:#}"));
    code_of(&error).into()
}

/// Explains an error of the command line's grammar, or prints the help that was asked for.
pub(crate) fn report_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let printed = error.print().and_then(|()| io::stdout().flush());
        return report(printed.map_err(|error| Unwritten::from(error).into()));
    }
    complain(&one_line(error));
    Code::Invalid.into()
}

/// Makes a mistake of the program one line as well, unless a backtrace was asked for.
pub(crate) fn keep_panics_short() {
    if std::env::var_os("RUST_BACKTRACE").is_some() {
        return;
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        complain(&format!("a mistake in the program, at {place}: please report it"));
    }));
}

/// Tells something beside the result, in one line on standard error.
pub(crate) fn note(message: &str) {
    complain(message);
}

/// Writes the line. If even that fails, nobody is there to be told.
fn complain(message: &str) {
    let line: Vec<&str> = message.split_whitespace().collect();
    let _ = writeln!(io::stderr(), "ayni: {}", output::clean(&line.join(" ")));
}

/// The first paragraph of clap's explanation, and where to read more.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let paragraph = match error.kind() {
        clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | clap::error::ErrorKind::MissingSubcommand => "this command needs another word",
        _ => text.split("\n\n").next().unwrap_or(&text),
    };
    let what = paragraph.strip_prefix("error: ").unwrap_or(paragraph);
    format!("{} (see `{} --help`)", what.trim(), command_of(&text))
}

/// Returns the command that clap's usage line is about: `ayni room set`.
fn command_of(text: &str) -> String {
    let usage = text.lines().find_map(|line| line.trim().strip_prefix("Usage: "));
    let words = usage.unwrap_or("ayni").split(' ');
    let command: Vec<&str> =
        words.take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase())).collect();
    command.join(" ")
}

/// Finds the code: the outermost error that has one decides.
fn code_of(error: &anyhow::Error) -> Code {
    error
        .chain()
        .find_map(|cause| {
            if let Some(failure) = cause.downcast_ref::<Failure>() {
                return Some(failure.code);
            }
            if let Some(error) = cause.downcast_ref::<ClientError>() {
                return Some(error.code.into());
            }
            cause.downcast_ref::<ayni::Error>().map(|error| error.kind().into())
        })
        .unwrap_or(Code::Other)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Unwritten>())
        .any(Unwritten::is_broken_pipe)
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use clap::Parser as _;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn codes_survive_context() {
        let error = ayni::Error::Denied("no".into());
        let told: anyhow::Result<()> = Err(error).context("leave the room");
        assert_eq!(code_of(&told.expect_err("an error")), Code::Denied);
        assert_eq!(code_of(&failure(Code::NotFound, "no such room")), Code::NotFound);
        assert_eq!(code_of(&anyhow::anyhow!("a full disk")), Code::Other);
    }

    #[test]
    fn grammar_errors_are_one_line() {
        for line in ["ayni nonsense", "ayni say", "ayni room", "ayni id --jsno", "ayni --data"] {
            let error = Cli::try_parse_from(line.split(' ')).expect_err(line);
            let told = one_line(&error);
            assert!(!told.starts_with("error"), "{told}");
            assert!(told.len() > 30 && told.ends_with(" --help`)"), "{told}");
        }
        for (line, command) in [
            ("ayni nonsense", "ayni"),
            ("ayni room", "ayni room"),
            ("ayni member promote family", "ayni member promote"),
        ] {
            let error = Cli::try_parse_from(line.split(' ')).expect_err(line);
            let told = one_line(&error);
            assert!(told.ends_with(&format!("(see `{command} --help`)")), "{told}");
        }
    }

    #[test]
    fn a_closed_reader_is_no_failure() {
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(&anyhow::Error::from(Unwritten::from(closed())).context("print")));
        assert!(!is_broken_pipe(&anyhow::Error::from(closed())), "a peer's end is one");
    }
}
