//! `dist`: the tarball that people get.

use std::path::Path;

use anyhow::{Context, Result};

use crate::shell::{cargo, output, program, root, run, say, target_folder};

/// Files of the repository that travel with the binary.
const FILES: &[&str] = &["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];
/// Shells with completions, and the file name that each expects.
const COMPLETIONS: &[(&str, &str)] =
    &[("bash", "ayni.bash"), ("zsh", "_ayni"), ("fish", "ayni.fish")];

/// Builds the binary with link-time optimization and packs it.
pub(crate) fn dist(_: &[String]) -> Result<()> {
    run(cargo(&["build", "--profile", "dist", "--package", "ayni-cli", "--locked"]))?;
    let folder = target_folder().join("dist");
    let binary = folder.join("ayni").with_extension(std::env::consts::EXE_EXTENSION);
    let name = format!("ayni-{}-{}", env!("CARGO_PKG_VERSION"), host()?);
    let stage = folder.join(&name);
    if stage.exists() {
        std::fs::remove_dir_all(&stage).context("could not remove the last tarball's folder")?;
    }
    std::fs::create_dir_all(stage.join("completions")).context("could not make a folder")?;
    copy(&binary, &stage)?;
    for file in FILES {
        copy(&root().join(file), &stage)?;
    }
    generate(&binary, &["man"], &stage.join("ayni.1"))?;
    for (shell, file) in COMPLETIONS {
        generate(&binary, &["completions", shell], &stage.join("completions").join(file))?;
    }
    let tarball = folder.join(format!("{name}.tar.gz"));
    let mut tar = program("tar", &["--create", "--gzip", "--owner=0", "--group=0"]);
    tar.arg("--file").arg(&tarball).arg("--directory").arg(&folder).arg(&name);
    run(tar)?;
    say(&format!("made {}", tarball.display()));
    Ok(())
}

fn copy(file: &Path, folder: &Path) -> Result<()> {
    let name = file.file_name().with_context(|| format!("{} has no name", file.display()))?;
    std::fs::copy(file, folder.join(name))
        .with_context(|| format!("could not copy {}", file.display()))?;
    Ok(())
}

fn generate(binary: &Path, arguments: &[&str], file: &Path) -> Result<()> {
    let text = output(program(&binary.to_string_lossy(), arguments))?;
    std::fs::write(file, text).with_context(|| format!("could not write {}", file.display()))
}

/// Returns the target triple that this machine builds for.
fn host() -> Result<String> {
    let version = output(program("rustc", &["--version", "--verbose"]))?;
    String::from_utf8_lossy(&version)
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .context("rustc does not say which host it builds for")
}
