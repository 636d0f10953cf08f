//! What helps in a shell: completion scripts and the manual page. Both are made from the grammar.

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;
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
    let mut grammar = Cli::command();
    grammar.build();
    let mut roff = Vec::new();
    clap_mangen::Man::new(grammar.clone()).render(&mut roff).context("make the page")?;
    let mut page = String::from_utf8(roff).context("make the page")?;
    for command in grammar.get_subcommands().filter(|command| command.get_name() != "help") {
        describe(command, &mut page)?;
    }
    page.push_str(MORE);
    session.out.result(&json!({ "man": page }), page.trim_end())?;
    Ok(session.out.flush()?)
}

/// Describes a command and those below it, as sections of the one page.
fn describe(command: &clap::Command, page: &mut String) -> anyhow::Result<()> {
    let name = command.get_bin_name().unwrap_or_default();
    // What holds for every command is said once, at the start of the page.
    let own = command.clone().mut_args(|argument| {
        let global = argument.is_global_set() || argument.get_id() == "help";
        argument.hide(global)
    });
    let part = clap_mangen::Man::new(own.clone());
    let mut roff = Vec::new();
    part.render_description_section(&mut roff)?;
    part.render_synopsis_section(&mut roff)?;
    if own.get_arguments().any(|argument| !argument.is_hide_set()) {
        part.render_options_section(&mut roff)?;
    }
    let roff = String::from_utf8(roff).context("make the page")?;
    page.push_str(".SH ");
    page.push_str(&name.to_uppercase());
    page.push('\n');
    page.push_str(&roff.replace("\n.SH ", "\n.SS ").replacen(".SH ", ".SS ", 1));
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        describe(below, page)?;
    }
    Ok(())
}
