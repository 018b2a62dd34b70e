//! The trial lists of VoxCeleb1, original and cleaned, put where recipes look for them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use speaker_verification::metrics::{TrialFormat, Trials};

/// Name, and how many trials it has.
const LISTS: [(&str, usize); 6] = [
    ("veri_test", 37_720),
    ("veri_test2", 37_611),
    ("list_test_all", 581_480),
    ("list_test_all2", 579_818),
    ("list_test_hard", 552_536),
    ("list_test_hard2", 550_894),
];

const PLACE: &str = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta";

/// Puts each list into `root/trials`: from the folder `from`, or from the corpus's page by `curl`. One that is there already stays.
pub(super) fn fetch(root: &Path, from: Option<&Path>) -> anyhow::Result<()> {
    let folder = root.join("trials");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for (name, count) in LISTS {
        let (file, place) = (format!("{name}.txt"), folder.join(format!("{name}.txt")));
        if place.is_file() {
            println!("{}: is there", place.display());
            continue;
        }
        let text = match from {
            Some(from) => {
                let path = from.join(&file);
                std::fs::read(&path).with_context(|| path.display().to_string())?
            }
            None => download(&format!("{PLACE}/{file}"))?,
        };
        let trials = Trials::parse(&text, TrialFormat::VoxCeleb).with_context(|| file.clone())?;
        let got = trials.pairs().len();
        ensure!(got == count, "{file}: {got} trials where the list has {count}; it was cut off, or is another list");
        std::fs::write(&place, &text).with_context(|| place.display().to_string())?;
        println!("{}: {got} trials", place.display());
    }
    Ok(())
}

fn download(address: &str) -> anyhow::Result<Vec<u8>> {
    let hint = || format!("{address}: get it by hand and name its folder by --from");
    let done = Command::new("curl").args(["--fail", "--silent", "--show-error", "--location", address]).output();
    let done = done.with_context(hint)?;
    ensure!(done.status.success(), "{}: {}", hint(), String::from_utf8_lossy(&done.stderr).trim());
    Ok(done.stdout)
}
