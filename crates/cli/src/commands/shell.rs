//! What helps in a shell: completion scripts and the manual page. Both are made from the grammar.

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use serde_json::json;

use crate::args::Cli;
use crate::session::Session;

/// What the manual page says beyond the grammar.
const MORE: &str = r".SH EXIT STATUS
.TP
\fB0\fR
done
.TP
\fB1\fR
anything without a code of its own
.TP
\fB2\fR
a malformed argument or ticket, an ambiguous name, an empty or too large text
.TP
\fB3\fR
no such room, peer, account or service
.TP
\fB4\fR
not permitted; a ticket that is expired, used up or revoked; a folder in use
.TP
\fB5\fR
unreachable, or too late
.SH ENVIRONMENT
.TP
\fBAYNI_DATA\fR
the data folder, unless \fB\-\-data\fR names one
.TP
\fBAYNI_NETWORK\fR
the network preset, unless \fB\-\-network\fR names one
.TP
\fBAYNI_LOG\fR
what to log to standard error, for instance \fBinfo\fR; unset: nothing
";

/// Prints the completion script for a shell.
pub(crate) fn completions(session: &mut Session, shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ayni", &mut script);
    let script = String::from_utf8(script).context("make the script")?;
    let object = json!({ "shell": shell.to_string(), "script": script });
    session.out.result(&object, script.trim_end())?;
    Ok(session.out.flush()?)
}

/// Prints the manual page, every command included.
pub(crate) fn man(session: &mut Session) -> anyhow::Result<()> {
    let page = page().context("make the page")?;
    session.out.result(&json!({ "man": page }), page.trim_end())?;
    Ok(session.out.flush()?)
}

fn page() -> anyhow::Result<String> {
    let mut grammar = Cli::command();
    grammar.build();
    let main = Man::new(grammar.clone());
    let mut roff = Vec::new();
    main.render_title(&mut roff)?;
    main.render_name_section(&mut roff)?;
    main.render_synopsis_section(&mut roff)?;
    main.render_description_section(&mut roff)?;
    main.render_options_section(&mut roff)?;
    roff.extend(b".SH COMMANDS\n");
    describe_below(&grammar, &mut roff)?;
    let mut page = String::from_utf8(roff)?;
    page.push_str(MORE);
    Ok(page)
}

fn describe_below(command: &Command, roff: &mut Vec<u8>) -> anyhow::Result<()> {
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        if below.has_subcommands() {
            describe_below(below, roff)?;
        } else {
            describe(below, roff)?;
        }
    }
    Ok(())
}

/// Describes one command: what it does, its synopsis, its own options. What holds for every command
/// is said once, at the start of the page.
fn describe(command: &Command, roff: &mut Vec<u8>) -> anyhow::Result<()> {
    let own = command.clone().mut_args(|argument| {
        let is_everywhere = argument.is_global_set() || argument.get_id() == "help";
        argument.hide(is_everywhere)
    });
    let mut sections = Vec::new();
    let part = Man::new(own.clone());
    part.render_description_section(&mut sections)?;
    part.render_synopsis_section(&mut sections)?;
    if own.get_arguments().any(|argument| !argument.is_hide_set()) {
        part.render_options_section(&mut sections)?;
    }
    let name = own.get_bin_name().unwrap_or_default();
    roff.extend(format!(".SS {name}\n").bytes());
    for line in String::from_utf8(sections)?.lines() {
        // Paragraphs of this command rather than sections of the page.
        let line = if line.starts_with(".SH ") { ".PP" } else { line };
        roff.extend(line.bytes().chain(*b"\n"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_describes_every_command_once() {
        let page = page().expect("it can be made");
        for name in ["ayni up", "ayni room invite", "ayni request", "ayni man"] {
            assert_eq!(page.matches(&format!("\n.SS {name}\n")).count(), 1, "{name}");
        }
        assert!(!page.contains("ayni\\-name(1)"), "no pages that do not exist");
    }
}
