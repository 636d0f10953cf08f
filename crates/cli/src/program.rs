//! A service that is a program: started once per request, fed by the request, read for the reply.
//!
//! Invariant: whatever the program does, an answer ends within its time and its reply keeps to its
//! size; a program that is not done then is killed.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

/// How much of the end of a program's standard error is kept to explain a failure: a long line.
const ERROR_TAIL: usize = 4096;

/// The program and its limits.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// Its name or path, then its arguments; never empty.
    pub(crate) argv: Vec<OsString>,
    /// Longest time for one answer.
    pub(crate) timeout: Duration,
    /// Largest reply, in bytes.
    pub(crate) max_reply: usize,
}

/// Who asks, as the program sees it in its environment.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    /// `AYNI_CALLER`: the peer id.
    pub(crate) peer: String,
    /// `AYNI_CALLER_ACCOUNT`: the account id; unset when it is not known.
    pub(crate) account: Option<String>,
}

impl Program {
    /// Answers one request, or says why not, in words for the caller.
    ///
    /// Dropping the future kills the program.
    pub(crate) async fn answer(&self, asker: Asker, request: &[u8]) -> Result<Vec<u8>, String> {
        let child = self.start(&asker)?;
        match tokio::time::timeout(self.timeout, self.converse(child, request)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("the service took longer than {} s", self.timeout.as_secs())),
        }
    }

    /// Whether there is nothing to start, now: better told before anybody calls.
    pub(crate) fn is_missing(&self) -> bool {
        let Some(name) = self.argv.first().map(Path::new) else { return true };
        if name.components().count() > 1 {
            return !is_program(name);
        }
        // Windows looks in more places than these.
        let Some(folders) = env::var_os("PATH").filter(|_| cfg!(unix)) else { return false };
        !env::split_paths(&folders).any(|folder| is_program(&folder.join(name)))
    }

    fn start(&self, asker: &Asker) -> Result<Child, String> {
        let cannot = || "the service's program cannot be started".to_owned();
        let (name, arguments) = self.argv.split_first().ok_or_else(cannot)?;
        let mut command = Command::new(name);
        command.args(arguments).env("AYNI_CALLER", &asker.peer).kill_on_drop(true);
        match &asker.account {
            Some(account) => command.env("AYNI_CALLER_ACCOUNT", account),
            None => command.env_remove("AYNI_CALLER_ACCOUNT"),
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(|error| {
            tracing::warn!(program = %name.to_string_lossy(), %error, "a program did not start");
            cannot()
        })
    }

    async fn converse(&self, mut child: Child, request: &[u8]) -> Result<Vec<u8>, String> {
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A program may answer without reading all, or anything, of the request.
                let _ = stdin.write_all(request).await;
                let _ = stdin.shutdown().await;
            }
        };
        let reply = async {
            // One byte more than allowed tells a reply that fits from one that does not.
            let most = u64::try_from(self.max_reply).unwrap_or(u64::MAX).saturating_add(1);
            let mut reply = Vec::new();
            match stdout {
                Some(stdout) => stdout.take(most).read_to_end(&mut reply).await.map(|_| reply),
                None => Ok(reply),
            }
        };
        let ((), reply, complaint) = tokio::join!(feed, reply, tail(stderr));
        let reply = reply.map_err(|_| "the service's reply cannot be read".to_owned())?;
        if reply.len() > self.max_reply {
            return Err(format!("the service's reply is larger than {} bytes", self.max_reply));
        }
        match child.wait().await {
            Ok(status) if status.success() => Ok(reply),
            Ok(status) => Err(explain(status, &complaint)),
            Err(_) => Err("the service's program is lost".to_owned()),
        }
    }
}

/// Reads to the end and keeps the last bytes.
async fn tail(stderr: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut stderr) = stderr else { return kept };
    let mut chunk = [0; ERROR_TAIL];
    while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
        kept.extend(chunk.iter().take(read));
        let excess = kept.len().saturating_sub(ERROR_TAIL);
        kept.drain(..excess);
    }
    kept
}

/// The last line that a failed program wrote to its standard error, else its exit status.
fn explain(status: ExitStatus, complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    match text.lines().rev().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => line.to_owned(),
        None => format!("the service failed, {status}"),
    }
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file() || path.with_added_extension(env::consts::EXE_EXTENSION).is_file()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program {
            argv: ["sh", "-c", script].map(OsString::from).to_vec(),
            timeout: Duration::from_secs(30),
            max_reply: 1 << 20,
        }
    }

    async fn answer(program: &Program, request: &[u8]) -> Result<Vec<u8>, String> {
        let asker = Asker { peer: "ab12".into(), account: Some("cd34".into()) };
        program.answer(asker, request).await
    }

    #[tokio::test]
    async fn a_program_gets_the_request_and_its_output_is_the_reply() {
        let large = vec![b'x'; 300_000]; // more than the pipes hold, in both directions at once
        assert_eq!(answer(&shell("cat"), &large).await, Ok(large.clone()));
        let who = answer(&shell("printf %s:%s $AYNI_CALLER $AYNI_CALLER_ACCOUNT"), b"").await;
        assert_eq!(who, Ok(b"ab12:cd34".to_vec()));
        assert_eq!(answer(&shell("exec <&-; echo done"), &large).await, Ok(b"done\n".to_vec()));
    }

    #[tokio::test]
    async fn a_failure_is_told_by_its_last_line() {
        let told = answer(&shell("echo first >&2; echo no such book >&2; echo; exit 3"), b"").await;
        assert_eq!(told, Err("no such book".to_owned()));
        let silent = answer(&shell("exit 3"), b"").await.expect_err("it failed");
        assert!(silent.contains("exit status: 3"), "{silent}");
        let long = answer(&shell("yes complaint | head -n 100000 >&2; exit 1"), b"").await;
        assert_eq!(long, Err("complaint".to_owned()));
    }

    #[tokio::test]
    async fn limits_hold() {
        let endless = Program { max_reply: 1000, ..shell("exec yes") };
        let told = answer(&endless, b"").await.expect_err("too large");
        assert!(told.contains("1000 bytes"), "{told}");
        let slow = Program { timeout: Duration::from_millis(50), ..shell("exec sleep 600") };
        let told = answer(&slow, b"").await.expect_err("too slow");
        assert!(told.contains("longer than"), "{told}");
    }

    #[tokio::test]
    async fn a_program_that_does_not_exist_is_told_without_its_path() {
        let missing = Program { argv: vec!["/no/such/program".into()], ..shell("") };
        assert!(missing.is_missing());
        let told = answer(&missing, b"").await.expect_err("missing");
        assert!(told.contains("cannot be started") && !told.contains('/'), "{told}");
    }

    #[test]
    fn a_program_is_looked_for_as_the_system_does() {
        let program = |name: &str| Program { argv: vec![name.into()], ..shell("") };
        assert!(!program("sh").is_missing());
        assert!(!program("/bin/sh").is_missing());
        assert!(program("/bin").is_missing(), "a folder");
        assert!(program("no-such-program-anywhere").is_missing());
        assert!(program("./no-such-program").is_missing());
        assert!(program("/etc/passwd").is_missing(), "a file that cannot be run");
    }
}
