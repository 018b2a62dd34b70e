//! A corpus in its published layout, listed as a manifest.

mod trials;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use speaker_verification::train::data::{Manifest, Recording};

use crate::reproduce::read_corpus;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// vctk, voxceleb, voxceleb1, voxceleb2; or voxceleb-trials: the lists, fetched into trials below the folder
    name: String,
    /// Its folder
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// For voxceleb-trials: a folder that has the lists already, where there is no network
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// The manifest to write
    #[arg(long, value_name = "FILE", default_value = "manifest.tsv")]
    out: PathBuf,
}

/// Where a corpus comes from: nothing is fetched here, licences are between the corpus and its user.
fn origin(name: &str) -> Option<&'static str> {
    match name {
        "vctk" => {
            Some("VCTK 0.92, https://doi.org/10.7488/ds/2645, CC BY 4.0; noisy twin: https://doi.org/10.7488/ds/2117")
        }
        "voxceleb" => Some("VoxCeleb 1 and 2, https://www.robots.ox.ac.uk/~vgg/data/voxceleb/, CC BY 4.0 on request"),
        _ => None,
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.name == "voxceleb-trials" {
        return trials::fetch(&arguments.root, arguments.from.as_deref());
    }
    let Some(origin) = origin(&arguments.name) else {
        bail!("no corpus is called `{}`; known are vctk, voxceleb, voxceleb1, voxceleb2", arguments.name)
    };
    // Who is judged on Vox1-O is not trained on.
    let lists = ["veri_test2", "veri_test"].map(str::to_owned);
    let manifest =
        read_corpus(&arguments.name, &arguments.root, &lists).with_context(|| format!("{origin}: get it first"))?;
    write(&arguments.out, &manifest)?;
    for split in ["train", "test"] {
        let entries = manifest.entries.iter().filter(|entry| entry.split == split);
        let mut speakers: Vec<&str> = entries.clone().map(|entry| entry.speaker.as_str()).collect();
        speakers.dedup();
        println!("{split}: {} recordings of {} speakers", entries.count(), speakers.len());
    }
    println!("{origin}\nwrote {}", arguments.out.display());
    Ok(())
}

fn write(path: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    let mut text = String::from("path\tcorpus\tsplit\tspeaker\n");
    for entry in &manifest.entries {
        if let Recording::File(file) = &entry.recording {
            writeln!(text, "{}\t{}\t{}\t{}", file.display(), entry.corpus, entry.split, entry.speaker)?;
        }
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}
