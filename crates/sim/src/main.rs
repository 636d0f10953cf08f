//! `ayni-sim`: runs scenarios from many seeds, a line each.

use std::process::ExitCode;

use ayni_sim::scenarios::{SCENARIOS, Scenario, scenario};
use ayni_sim::verdict;

const USAGE: &str = "\
usage: ayni-sim [--seeds N] [--from SEED] [--scenario NAME]

  --seeds N         run so many seeds of each scenario (default 10)
  --from SEED       the first seed (default 0)
  --scenario NAME   this scenario only
";

struct Options {
    seeds: u64,
    from: u64,
    scenarios: Vec<&'static Scenario>,
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
    let mut failures = 0_u64;
    let mut runs = 0_u64;
    for scenario in options.scenarios {
        for seed in options.from..options.from.saturating_add(options.seeds) {
            runs += 1;
            let start = std::time::Instant::now();
            match verdict::run(scenario, seed) {
                Ok(report) => println!("{report}; {:.1} s", start.elapsed().as_secs_f32()),
                Err(failure) => {
                    failures += 1;
                    println!("{failure}");
                }
            }
        }
    }
    println!("{runs} runs, {failures} failed");
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn list() {
    println!("\nscenarios:");
    for Scenario { name, about, .. } in SCENARIOS {
        println!("  {name:<16}{about}");
    }
}

fn parse(words: &[String]) -> Result<Options, String> {
    let mut options = Options { seeds: 10, from: 0, scenarios: SCENARIOS.iter().collect() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("{word} needs a value"))?;
        let number = || value.parse().map_err(|_| format!("{word} needs a number, not {value:?}"));
        match word.as_str() {
            "--seeds" => options.seeds = number()?,
            "--from" => options.from = number()?,
            "--scenario" => {
                let found = scenario(value);
                options.scenarios = vec![found.ok_or(format!("there is no scenario {value:?}"))?];
            }
            _ => return Err(format!("there is no option {word:?}")),
        }
    }
    Ok(options)
}
