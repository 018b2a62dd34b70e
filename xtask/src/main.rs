//! What only the developers of this workspace run. `cargo xtask --help` lists it.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a tool of the developers prints its findings")]

mod bench;
mod data;
mod golden;
mod reproduce;
mod results;
mod tidy;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Tasks of the developers")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Compare the tree with docs/ARCHITECTURE.md and the rules of the house
    Tidy {
        /// Also check every feature of every crate alone, none, and all together (minutes)
        #[arg(long)]
        features: bool,
    },
    /// Make the values in tests/golden again, by the scripts beside them
    Golden {
        /// A Python with the packages that tests/golden/README.md lists
        #[arg(long, default_value = "python3")]
        python: PathBuf,
    },
    /// Train, measure and draw: without arguments on synthesised voices, with a corpus on that
    Reproduce(reproduce::Arguments),
    /// Write docs/results.md again from docs/results/
    Results,
    /// List a corpus in its published layout as a manifest
    Data(data::Arguments),
    /// Measure against peers in the same run and write docs/results.md's section
    Bench(bench::Arguments),
}

fn main() -> anyhow::Result<()> {
    let root = root();
    match Arguments::parse().task {
        Task::Tidy { features } => {
            let findings = tidy::findings(&root)?;
            for finding in &findings {
                println!("{finding}");
            }
            anyhow::ensure!(findings.is_empty(), "{} findings", findings.len());
            println!("tidy: nothing found");
            if features { tidy::features::check_each(&root) } else { Ok(()) }
        }
        Task::Golden { python } => golden::rebuild(&root, &python),
        Task::Reproduce(arguments) => reproduce::run(&root, &arguments, since_cargo_began()),
        Task::Results => results::write_page(&root),
        Task::Data(arguments) => data::run(&arguments),
        Task::Bench(arguments) => bench::run(&root, &arguments),
    }
}

/// How long ago cargo was started, which builds this tool and then becomes it: the time of the build. None where the system
/// does not say.
fn since_cargo_began() -> Option<std::time::Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name stands in parentheses and may hold anything; the start, in ticks since boot, is the 20th field after it.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: f64 = rest.split_whitespace().nth(19)?.parse().ok()?;
    let uptime: f64 = std::fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
    // A hundred ticks a second on every Linux that is not configured otherwise on purpose.
    std::time::Duration::try_from_secs_f64(uptime - ticks / 100.0).ok()
}

/// The workspace's folder: cargo sets the manifest's at compile time, and this tool is only run where it was built.
fn root() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_tidy() {
        let findings = super::tidy::findings(&super::root()).unwrap();
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }
}
