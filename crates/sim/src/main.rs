//! `ayni-sim`: runs scenarios from many seeds, a line each.

use std::process::ExitCode;
use std::time::Instant;

use ayni_sim::scenarios::{SCENARIOS, Scenario, scenario};
use ayni_sim::verdict;

const USAGE: &str = "\
usage: ayni-sim [--scenario NAME] [--seeds N] [--from SEED] [--peers N] [--messages N]
                [--explain yes]

  --scenario NAME   this scenario only; without it all of them: the long set
  --seeds N         run so many seeds of each scenario (default: what the table says)
  --from SEED       the first seed (default 0)
  --peers N         so many peers, instead of what the table says
  --messages N      so many messages, instead of what the table says
  --explain yes     of a run that failed tell the control lane: who stated what, and who holds it
";

struct Options {
    seeds: Option<u64>,
    from: u64,
    explain: bool,
    scenarios: Vec<Scenario>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        print!("{USAGE}");
        list();
        return ExitCode::SUCCESS;
    }
    let options = match parse(&words) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let (mut failures, mut runs) = (0_u64, 0_u64);
    for scenario in &options.scenarios {
        let seeds = options.seeds.unwrap_or(scenario.seeds);
        for seed in options.from..options.from.saturating_add(seeds) {
            runs += 1;
            failures += u64::from(!run(scenario, seed, options.explain));
        }
    }
    println!("{runs} runs, {failures} failed");
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one seed, and says how it went. Returns whether it went well.
fn run(scenario: &Scenario, seed: u64, explain: bool) -> bool {
    let start = Instant::now();
    match verdict::run(scenario, seed) {
        Ok(report) => println!("{report}; {:.1} s", start.elapsed().as_secs_f32()),
        Err(failure) => {
            println!("{failure}");
            if explain {
                println!("{}", verdict::explain(scenario, seed));
            }
            return false;
        }
    }
    true
}

fn list() {
    println!("\nscenarios, and their seeds in the long set:");
    for Scenario { name, about, seeds, .. } in SCENARIOS {
        println!("  {name:<16}{seeds:>4}  {about}");
    }
}

fn parse(words: &[String]) -> Result<Options, String> {
    let mut options =
        Options { seeds: None, from: 0, explain: false, scenarios: SCENARIOS.to_vec() };
    let (mut peers, mut messages) = (None, None);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("{word} needs a value"))?;
        let number = || value.parse().map_err(|_| format!("{word} needs a number, not {value:?}"));
        match word.as_str() {
            "--seeds" => options.seeds = Some(number()?),
            "--from" => options.from = number()?,
            "--peers" => peers = Some(number()?),
            "--messages" => messages = Some(number()?),
            "--explain" => options.explain = value == "yes",
            "--scenario" => {
                let found = scenario(value);
                options.scenarios = vec![*found.ok_or(format!("there is no scenario {value:?}"))?];
            }
            _ => return Err(format!("there is no option {word:?}")),
        }
    }
    for scenario in &mut options.scenarios {
        scenario.messages = messages.unwrap_or(scenario.messages);
        if let Some(peers) = peers {
            let least = scenario.newcomers + scenario.leavers + scenario.liars + 2;
            let peers = usize::try_from(peers).unwrap_or(usize::MAX);
            if peers < least {
                return Err(format!("{} needs {least} peers at least", scenario.name));
            }
            scenario.peers = peers;
        }
    }
    Ok(options)
}
