//! Which crate may name which: the arrows of ARCHITECTURE.md, checked.
//!
//! Source of truth is what cargo resolves (`cargo tree`), so that renamed dependencies count under
//! their real name; build and development dependencies count like all others.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

use crate::shell;

/// The direct dependencies of each workspace crate, by package name.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Each crate of the workspace with the crates of the workspace that it may name.
const ARROWS: &[(&str, &[&str])] = &[
    ("ayni-core", &[]),
    ("ayni-picture", &["ayni-core"]),
    ("ayni", &["ayni-core", "ayni-picture"]),
    ("ayni-web", &["ayni", "ayni-core"]),
    ("ayni-cli", &["ayni-web", "ayni", "ayni-core"]),
    ("ayni-sim", &["ayni-core"]),
    ("xtask", &[]),
];

/// Crates from outside that only some of ours may name: a prefix, who may, and why.
const OWNED: &[(&str, &[&str], &str)] = &[
    ("iroh-gossip", &["ayni", "ayni-sim"], "the transport is node's; sim may use its IO-free part"),
    ("iroh", &["ayni"], "the transport is node's, so that it can be replaced in one place"),
    ("image", &["ayni-picture"], "decoders of hostile bytes are in one place, behind its limits"),
    ("rusqlite", &["ayni"], "the store is node's; one writer thread owns the database"),
    ("axum", &["ayni-web"], "only web knows the HTTP and JSON shapes of the API"),
    ("hyper", &["ayni-web"], "only web knows the HTTP and JSON shapes of the API"),
    ("reqwest", &["ayni-web"], "programs use the typed client of ayni-web"),
    ("tokio-tungstenite", &["ayni-web"], "programs use the typed client of ayni-web"),
    ("clap", &["ayni-cli"], "only cli knows the command line"),
];

/// What the core must not name: IO, tasks, clocks, the operating system's randomness.
const FOREIGN_TO_CORE: &[&str] = &[
    "tokio",
    "async-std",
    "smol",
    "mio",
    "socket2",
    "quinn",
    "noq",
    "futures",
    "getrandom",
    "rand",
    "chrono",
    "time",
    "jiff",
    "tempfile",
    "tracing",
];

/// What the crate for pictures must not name: tasks and threads, which its callers choose.
const FOREIGN_TO_PICTURE: &[&str] = &["tokio", "async-std", "smol", "rayon", "futures"];

/// Checks the workspace.
///
/// # Errors
/// Names every arrow that points the wrong way.
pub(crate) fn check() -> Result<()> {
    let wrong = violations(&graph()?);
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

fn violations(graph: &Graph) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, dependencies) in graph {
        let Some((_, allowed)) = ARROWS.iter().find(|(package, _)| package == name) else {
            wrong.push(format!(
                "{name} has no place yet: name its arrows in crates/xtask/src/arrows.rs"
            ));
            continue;
        };
        for dependency in dependencies {
            if graph.contains_key(dependency) && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{name} must not depend on {dependency}"));
            }
            if let Some(reason) = not_for(name, dependency) {
                wrong.push(format!("{name} must not depend on {dependency}: {reason}"));
            }
        }
    }
    wrong
}

fn not_for(name: &str, dependency: &str) -> Option<&'static str> {
    let is = |prefix: &str| {
        dependency.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    if name == "ayni-picture" && FOREIGN_TO_PICTURE.contains(&dependency) {
        return Some("it makes bytes of bytes; files and tasks are node's");
    }
    if name == "ayni-core" && FOREIGN_TO_CORE.contains(&dependency) {
        return Some("the core has no IO, no clock and no randomness of the operating system");
    }
    let (_, owners, reason) = OWNED.iter().find(|(prefix, _, _)| is(prefix))?;
    (!owners.contains(&name)).then_some(*reason)
}

fn graph() -> Result<Graph> {
    let folder = shell::root().join("crates");
    let mut graph = Graph::new();
    for entry in std::fs::read_dir(&folder).context("could not list crates/")? {
        let manifest = entry.context("could not list crates/")?.path().join("Cargo.toml");
        if manifest.is_file() {
            let (name, dependencies) = direct_dependencies(&manifest.to_string_lossy())?;
            graph.insert(name, dependencies);
        }
    }
    Ok(graph)
}

fn direct_dependencies(manifest: &str) -> Result<(String, BTreeSet<String>)> {
    let tree = shell::output(shell::cargo(&[
        "tree",
        "--manifest-path",
        manifest,
        "--depth=1",
        "--edges=normal,build,dev",
        "--all-features",
        "--prefix=none",
        "--format={p}",
    ]))?;
    let tree = String::from_utf8(tree).context("cargo tree wrote something else than text")?;
    let mut names = tree
        .lines()
        .filter(|line| !line.starts_with('['))
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned);
    let name = names.next().with_context(|| format!("cargo tree knows nothing of {manifest}"))?;
    Ok((name, names.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph_of(edges: &[(&str, &[&str])]) -> Graph {
        let mut graph: Graph =
            ARROWS.iter().map(|(name, _)| ((*name).to_owned(), BTreeSet::new())).collect();
        for (name, dependencies) in edges {
            let names = dependencies.iter().map(|name| (*name).to_owned());
            graph.entry((*name).to_owned()).or_default().extend(names);
        }
        graph
    }

    #[test]
    fn the_workspace_keeps_its_arrows() {
        check().expect("an arrow points the wrong way");
    }

    #[test]
    fn arrows_downwards_are_right() {
        let graph = graph_of(&[
            ("ayni-cli", &["ayni-web", "ayni", "clap"]),
            ("ayni-web", &["ayni", "axum", "tokio"]),
            ("ayni", &["ayni-core", "ayni-picture", "iroh", "iroh-gossip", "rusqlite", "tokio"]),
            ("ayni-sim", &["ayni-core", "iroh-gossip", "rand_chacha"]),
            ("ayni-picture", &["ayni-core", "image", "infer"]),
            ("ayni-core", &["blake3", "rand_core"]),
        ]);
        assert_eq!(violations(&graph), Vec::<String>::new());
    }

    #[test]
    fn arrows_upwards_and_sideways_are_named() {
        for (name, dependency) in [
            ("ayni-core", "ayni"),
            ("ayni-core", "tokio"),
            ("ayni-core", "iroh-base"),
            ("ayni-core", "rusqlite"),
            ("ayni-core", "ayni-picture"),
            ("ayni-picture", "ayni"),
            ("ayni-picture", "tokio"),
            ("ayni", "ayni-web"),
            ("ayni", "axum"),
            ("ayni", "image"),
            ("ayni-web", "ayni-cli"),
            ("ayni-web", "iroh"),
            ("ayni-cli", "rusqlite"),
            ("ayni-cli", "axum"),
            ("ayni-sim", "ayni"),
            ("ayni-sim", "iroh"),
            ("xtask", "ayni-core"),
            ("ayni-cli", "xtask"),
        ] {
            let wrong = violations(&graph_of(&[(name, &[dependency])]));
            let expected = format!("{name} must not depend on {dependency}");
            assert!(wrong.len() == 1 && wrong[0].starts_with(&expected), "{wrong:?}");
        }
    }

    #[test]
    fn a_new_crate_must_say_where_it_stands() {
        let wrong = violations(&graph_of(&[("ayni-extra", &[])]));
        assert!(wrong.len() == 1 && wrong[0].starts_with("ayni-extra has no place"), "{wrong:?}");
    }
}
