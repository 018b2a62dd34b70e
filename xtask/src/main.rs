//! What only the developers of this workspace run. `cargo xtask --help` lists it.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a tool of the developers prints its findings")]

mod bench;
mod golden;
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
        Task::Bench(arguments) => bench::run(&root, &arguments),
    }
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
