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
    put(&LISTS, root, from)
}

fn put(lists: &[(&str, usize)], root: &Path, from: Option<&Path>) -> anyhow::Result<()> {
    let folder = root.join("trials");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for &(name, count) in lists {
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const TWO: &str = "1 id10270/a/00001.wav id10270/b/00002.wav\n0 id10270/a/00001.wav id10300/c/00001.wav\n";

    #[test]
    fn lists_are_put_beside_the_recordings_and_stay_there() {
        let (root, from) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(from.path().join("a.txt"), TWO).unwrap();
        put(&[("a", 2)], root.path(), Some(from.path())).unwrap();
        let place = root.path().join("trials/a.txt");
        assert_eq!(fs::read_to_string(&place).unwrap(), TWO);
        // One that is there is not fetched again, whatever it holds.
        fs::write(&place, "mine").unwrap();
        put(&[("a", 2)], root.path(), Some(from.path())).unwrap();
        assert_eq!(fs::read_to_string(&place).unwrap(), "mine");
    }

    #[test]
    fn a_list_that_is_cut_off_missing_or_none_is_refused_and_not_kept() {
        let (root, from) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let refusal = |name: &str, count: usize| {
            let refused = put(&[(name, count)], root.path(), Some(from.path())).unwrap_err();
            assert!(!root.path().join(format!("trials/{name}.txt")).exists());
            format!("{refused:#}")
        };
        fs::write(from.path().join("cut.txt"), TWO).unwrap();
        let error = refusal("cut", 3);
        assert!(error.contains("cut.txt: 2 trials where the list has 3"), "{error}");
        assert!(refusal("gone", 2).contains("gone.txt"));
        fs::write(from.path().join("page.txt"), "<html>not here</html>\n").unwrap();
        assert!(refusal("page", 1).contains("page.txt"));
    }

    #[test]
    fn the_lists_are_those_that_tables_2_and_4_ask_for() {
        use speaker_verification::train::heo2019::Table;
        let asked: Vec<&str> = Table::Four.lists().iter().flatten().copied().collect();
        assert_eq!(LISTS.map(|(name, _)| name)[..], asked);
    }
}
