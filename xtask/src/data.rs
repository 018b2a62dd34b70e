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
        "voxceleb" | "voxceleb1" | "voxceleb2" => {
            Some("VoxCeleb 1 and 2, https://www.robots.ox.ac.uk/~vgg/data/voxceleb/, CC BY 4.0 on request")
        }
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A tree of both corpora, two speakers of each, of whom the list Vox1-O names one.
    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (folder, ending) in
            [("wav/id10001", "wav"), ("wav/id10270", "wav"), ("aac/id00012", "m4a"), ("aac/id00013", "m4a")]
        {
            let video = root.path().join(folder).join("video");
            fs::create_dir_all(&video).unwrap();
            fs::write(video.join(format!("00001.{ending}")), "").unwrap();
        }
        fs::create_dir(root.path().join("trials")).unwrap();
        fs::write(root.path().join("trials/veri_test.txt"), "1 id10270/video/00001.wav id10270/video/00001.wav\n")
            .unwrap();
        root
    }

    fn listed(name: &str, root: &Path) -> anyhow::Result<Vec<[String; 2]>> {
        let out = root.join("manifest.tsv");
        run(&Arguments { name: name.to_owned(), root: root.to_owned(), from: None, out: out.clone() })?;
        let manifest = Manifest::read(&out, root)?;
        Ok(manifest.entries.into_iter().map(|entry| [entry.speaker, entry.split]).collect())
    }

    #[test]
    fn each_corpus_of_voxceleb_is_listed_by_its_name() {
        let root = tree();
        let rows = |expected: &[[&str; 2]]| expected.iter().map(|row| row.map(str::to_owned)).collect::<Vec<_>>();
        let one = [["id10001", "train"], ["id10270", "test"]];
        let two = [["id00012", "train"], ["id00013", "train"]];
        assert_eq!(listed("voxceleb1", root.path()).unwrap(), rows(&one));
        assert_eq!(listed("voxceleb2", root.path()).unwrap(), rows(&two));
        assert_eq!(listed("voxceleb", root.path()).unwrap(), rows(&[one, two].concat()));
    }

    #[test]
    fn what_is_not_there_is_said_with_where_to_get_it() {
        let root = tree();
        let error = format!("{:#}", listed("timit", root.path()).unwrap_err());
        assert!(error.contains("timit") && error.contains("vctk, voxceleb"), "{error}");
        fs::remove_dir_all(root.path().join("trials")).unwrap();
        let error = format!("{:#}", listed("voxceleb1", root.path()).unwrap_err());
        assert!(error.contains("veri_test.txt") && error.contains("voxceleb-trials"), "{error}");
        fs::remove_dir_all(root.path().join("aac")).unwrap();
        let error = format!("{:#}", listed("voxceleb2", root.path()).unwrap_err());
        assert!(error.contains("robots.ox.ac.uk") && error.contains("idNNNNN"), "{error}");
    }
}
