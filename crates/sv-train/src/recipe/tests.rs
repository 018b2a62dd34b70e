//! Recipes: what is read, what is refused, what a change changes.

use std::path::Path;

use proptest::prelude::*;
use sv_losses::{Reduction, Variant};
use sv_models::encoders::lstm::{Head, LstmConfig, Normalization};

use super::*;
use crate::data::{CropConfig, CropEdges, Draw, NoiseSource, PreparationConfig, TakeFrom};
use crate::optim::Schedule;
use crate::optim::{Clip, GroupRule, Method};

const TINY: &str = include_str!("../../recipes/synthetic/td.toml");

fn load(name: &str) -> Recipe {
    Recipe::load(name, &[]).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn changed(changes: &[&str]) -> Result<Recipe, TrainError> {
    Recipe::load("synthetic/td", &changes.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn refusal(changes: &[&str]) -> String {
    changed(changes).expect_err("a recipe that cannot be").to_string()
}

#[test]
fn every_embedded_recipe_is_read_and_written_without_loss() {
    assert_eq!(Recipe::names().len(), 21);
    for name in Recipe::names() {
        let recipe = load(name);
        assert_eq!(recipe.name, name);
        let text = recipe.to_toml().unwrap();
        let again = Recipe::parse(Path::new("again"), &text, &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(again, recipe);
        assert_eq!(again.to_toml().unwrap(), text);
        assert_eq!(recipe.difference(&again).unwrap(), None);
        assert_eq!(recipe.front_end.build().unwrap().bins(), recipe.encoder.bins());
    }
}

/// Batch and schedules of SpeechBrain's two recipes for VoxCeleb: `train_ecapa_tdnn.yaml`, `train_x_vectors.yaml`.
#[test]
fn the_voxceleb_recipes_have_speechbrains_batch_and_schedule() {
    let (ecapa, xvector) = (load("ecapa/voxceleb"), load("xvector/voxceleb"));
    for (recipe, rows) in [(&ecapa, 32), (&xvector, 256)] {
        // Crops of 3 s anywhere in a recording that comes once for each 3 s; four augmented copies beside each; 10 % held out.
        assert_eq!((recipe.data.sampler.speakers, recipe.data.sampler.draw), (rows, Draw::Shuffled));
        assert_eq!((recipe.data.rows(), recipe.data.sampler.once_per_frames), (5 * rows, Some(300)));
        assert_eq!(recipe.data.crop, CropConfig { frames: [301, 301], from: TakeFrom::Random, edges: CropEdges::Cut });
        assert!(matches!(recipe.corpus, CorpusConfig::Manifest { held_out: 0.1, .. }));
        let effects: Vec<_> = recipe.data.copies.iter().map(|copy| &copy.effects).collect();
        assert_eq!(effects[0].noise.as_ref().unwrap().snr_db, [0.0, 15.0]);
        assert_eq!(effects[1].impulse_responses.as_ref().unwrap().probability, 1.0);
        assert_eq!(effects[2].dropped_bands.as_ref().unwrap().count, [1, 3]);
        let chunks = effects[3].dropped_chunks.as_ref().unwrap();
        assert_eq!((chunks.count, chunks.samples), ([1, 5], [1_000, 2_000]));
        assert_eq!((recipe.seed, recipe.standardise), (1_986, false));
        let Method::Adam { weight_decay, beta1, beta2, .. } = recipe.optimizer.method else {
            panic!("{:?}", recipe.optimizer)
        };
        assert_eq!((weight_decay, beta1, beta2), (2e-6, 0.9, 0.999));
    }
    // Triangles from 1e-8 to 1e-3 and back in twice 65,000 steps.
    for (step, rate) in [(0, 1e-8), (32_500, 5.00005e-4), (65_000, 1e-3), (97_500, 5.00005e-4), (130_000, 1e-8)] {
        assert!((ecapa.schedule.rate(step) - rate).abs() < 1e-12, "{step}: {}", ecapa.schedule.rate(step));
    }
    for (step, rate) in [(0, 1e-3), (90_000, 5.5e-4), (xvector.steps, 1e-4)] {
        assert!((xvector.schedule.rate(step) - rate).abs() < 1e-12, "{step}: {}", xvector.schedule.rate(step));
    }
    // The published sizes: 20,767,552 values and 4,211,604 less the classifier's.
    assert_eq!(ecapa.encoder.parameters(), 20_767_552);
    let ObjectiveConfig::AamSoftmax(options) = &ecapa.objective else { panic!("{:?}", ecapa.objective) };
    assert_eq!((options.margin, options.scale), (0.2, 30.0));
}

/// WeSpeaker's large-margin fine-tuning (`*_lm.yaml`) of the network that `ecapa/voxceleb` trains.
#[test]
fn large_margin_fine_tuning_is_wespeakers_of_speechbrains_network() {
    let (first, tuned) = (load("ecapa/voxceleb"), load("ecapa/voxceleb-lm"));
    assert_eq!((&tuned.encoder, &tuned.front_end, tuned.seed), (&first.encoder, &first.front_end, first.seed));
    // The same recordings are held out.
    assert_eq!(tuned.corpus, first.corpus);
    assert_eq!(tuned.initialisation, Initialisation::Model {});
    assert_eq!((tuned.data.rows(), tuned.data.crop.frames, tuned.data.sampler.once_per_frames), (64, [600, 600], None));
    assert!(tuned.data.augmentation.as_ref().unwrap().effects.speed.is_none());
    let ObjectiveConfig::AamSoftmax(options) = &tuned.objective else { panic!("{:?}", tuned.objective) };
    assert_eq!((options.margin, options.scale, tuned.margin.as_ref()), (0.5, 30.0, None));
    let Method::Sgd { momentum, nesterov, weight_decay } = tuned.optimizer.method else {
        panic!("{:?}", tuned.optimizer)
    };
    assert_eq!((momentum, nesterov, weight_decay), (0.9, true, 1e-4));
    // Five epochs; from zero over the first, then from 1e-4 down to 2.5e-5 along an exponential.
    let epoch = 1_240_651 * 9 / 10 / 64;
    assert_eq!(tuned.steps, 5 * epoch);
    let falling = |step: u64| 1e-4 * 0.25_f64.powf(step as f64 / tuned.steps as f64);
    for (step, share) in [(0, 0.0), (epoch / 2, 0.5), (epoch, 1.0), (3 * epoch, 1.0), (tuned.steps, 1.0)] {
        let rate = tuned.schedule.rate(step);
        assert!((rate - share * falling(step)).abs() < 1e-12, "{step}: {rate}");
    }
}

/// What both of them share; the numbers are those of `configuration.py`, `data_preprocess.py`, `utils.py` and `model.py`.
fn has_the_tensorflow_defaults(recipe: &Recipe) {
    // sr 8000, nfft 512, window 0.025 s, hop 0.01 s, periodic Hann, zeros beyond the ends, power, 40 Slaney bands to 4 kHz,
    // log10(x + 1e-6).
    let front_end = recipe.front_end.build().unwrap();
    assert_eq!((front_end.rate_hz, front_end.n_fft, front_end.win_length, front_end.hop), (8_000, 512, 200, 80));
    assert_eq!((front_end.bins(), front_end.mel.f_min_hz, front_end.mel.f_max_hz), (40, 0.0, 4_000.0));
    assert_eq!(front_end.padding, sv_audio::stft::Padding::CentreZeros);
    assert_eq!(front_end.window, sv_audio::stft::Window::HannPeriodic);
    assert_eq!(front_end.compression, sv_audio::frontend::Compression::Log10 { offset: 1e-6 });
    assert!(!recipe.standardise);
    // hidden 128, proj 64, num_layer 3, the last frame over sqrt(|x|^2 + 1e-6): 210,432 weights, and w and b.
    let EncoderConfig::Lstm(LstmConfig { bins, layers, hidden, projection, head, normalization }) = &recipe.encoder
    else {
        panic!("{:?}", recipe.encoder)
    };
    assert_eq!((*bins, *layers, *hidden, *projection, head), (40, 3, 128, Some(64), &Head::None));
    assert_eq!(*normalization, Normalization::L2 { epsilon: 1e-6 });
    assert_eq!(recipe.encoder.parameters() + 2, 210_434);
    assert_eq!(recipe.initialisation, Initialisation::Glorot { forget_bias: 1.0 });
    // N 4, M 5, loss softmax, w 10 and b -5, a sum.
    assert_eq!((recipe.data.sampler.speakers, recipe.data.sampler.utterances), (4, 5));
    assert_eq!(recipe.data.sampler.draw, Draw::WithReplacement);
    let ObjectiveConfig::Ge2eTf(loss) = &recipe.objective else { panic!("{:?}", recipe.objective) };
    assert_eq!((loss.variant, loss.w, loss.b), (Variant::Softmax, 10.0, -5.0));
    assert_eq!(recipe.objective.terms(20), 20);
    // optim sgd, the global norm at 3 over all, then w and b by 0.01.
    assert_eq!(recipe.optimizer.method, Method::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 });
    assert_eq!(recipe.optimizer.clip, Clip::Tensorflow { norm: 3.0 });
    let rule = GroupRule { clipped_gradient_scale: 0.01, ..GroupRule::new("ge2e.*") };
    assert_eq!(recipe.optimizer.rules, [rule]);
    // lr 0.01, halved after every 10,000 of 100,000 iterations, saved as often.
    assert_eq!((recipe.steps, recipe.checkpoints.every), (100_000, 10_000));
    let Schedule::Halving { rate, every } = &recipe.schedule else { panic!("{:?}", recipe.schedule) };
    assert_eq!((*rate, every.get()), (0.01, 10_000));
    assert_eq!((recipe.schedule.rate(9_999), recipe.schedule.rate(10_000)), (0.01, 0.005));
}

#[test]
fn the_text_independent_recipe_has_every_default_of_the_tensorflow_code() {
    let recipe = load("ge2e-tf/ti");
    has_the_tensorflow_defaults(&recipe);
    // split(top_db 20) into stretches of 180 frames and more; the first 140 to 180 frames; no noise; judged on 160.
    assert_eq!(recipe.data.preparation, PreparationConfig::Split { top_db: 20.0, frames: 180 });
    assert_eq!(recipe.data.crop, CropConfig { frames: [140, 180], from: TakeFrom::Start, edges: CropEdges::Recording });
    assert_eq!((&recipe.data.noise, &recipe.data.augmentation, &recipe.data.feature_offset), (&None, &None, &None));
    assert_eq!(recipe.evaluation.windows, Windows::Fixed { frames: 160, hop: 80 });
}

#[test]
fn the_text_dependent_recipe_has_every_default_of_the_tensorflow_code() {
    let recipe = load("ge2e-tf/td");
    has_the_tensorflow_defaults(&recipe);
    // trim(top_db 14), once, in the front end; the last 80 frames; noise as it is.
    assert_eq!(recipe.data.preparation, PreparationConfig::LastFrames { trim_db: None, frames: 80 });
    assert_eq!(recipe.data.crop, CropConfig { frames: [80, 80], from: TakeFrom::End, edges: CropEdges::Recording });
    let noise = recipe.data.noise.as_ref().unwrap();
    assert!(matches!(noise.source, NoiseSource::Folder { .. }) && noise.snr_db.is_none(), "{noise:?}");
    assert_eq!(recipe.front_end.build().unwrap().vad, VadChoice::Trim { top_db: 14.0 });
    assert_eq!(recipe.evaluation.windows, Windows::Last { frames: 80 });
}

#[test]
fn a_recipe_of_synthetic_voices_has_its_rate_down_in_the_last_quarter() {
    for name in ["synthetic/td", "synthetic/ti"] {
        let recipe = load(name);
        let Schedule::Cosine { steps, warm_up, .. } = &recipe.schedule else { panic!("{:?}", recipe.schedule) };
        // The rate is down in the last quarter, so that the figures at 75 and 100 % of the steps are close.
        assert!((3 * recipe.steps / 4..=recipe.steps).contains(&steps.get()), "{steps} of {}", recipe.steps);
        assert_eq!(*warm_up, 30);
        assert!(matches!(recipe.corpus, CorpusConfig::Synthetic { .. }));
        let ObjectiveConfig::Ge2e(loss) = &recipe.objective else { panic!("{:?}", recipe.objective) };
        assert_eq!(loss.reduction, Reduction::Mean);
    }
}

#[test]
fn an_unknown_key_is_an_error_that_names_it() {
    // (where the key is put, as a change; the key)
    for (change, key) in [
        ("stepz=5", "stepz"),
        ("encoder.hiden=5", "hiden"),
        ("encoder.normalization.epsilom=1.0", "epsilom"),
        ("corpus.text_kind=1", "text_kind"),
        ("data.sampler.speekers=5", "speekers"),
        ("data.preparation.top_db=20.0", "top_db"),
        ("optimizer.method.beta3=0.5", "beta3"),
        ("optimizer.clip.length=3.0", "length"),
        ("schedule.gamma=0.5", "gamma"),
        ("objective.margin=0.5", "margin"),
        ("initialisation.gain=1.0", "gain"),
        ("evaluation.list=1", "list"),
        ("evaluation.windows.count=1", "count"),
        ("front_end.rate_hz=16000", "rate_hz"),
        ("checkpoints.keep=3", "keep"),
        ("standardise.really=true", "no table"),
    ] {
        let message = refusal(&[change]);
        assert!(message.contains(key), "{change}: {message}");
    }
}

#[test]
fn a_missing_key_is_an_error_that_names_it() {
    for key in ["seed", "steps", "about", "standardise", "every = 500"] {
        let text: String = TINY.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
        assert_ne!(text, TINY);
        let message = Recipe::parse(Path::new("mine.toml"), &text, &[]).expect_err(key).to_string();
        let name = key.split(' ').next().unwrap();
        assert!(message.contains(&format!("`{name}`")) && message.contains("mine.toml"), "{message}");
    }
}

#[test]
fn a_value_of_a_wrong_type_is_an_error_that_names_the_key() {
    for (change, key) in [
        ("steps=many", "steps"),
        ("steps=1.5", "steps"),
        ("steps=-1", "steps"),
        ("seed=\"1\"", "seed"),
        ("standardise=1", "standardise"),
        ("data.crop.frames=100", "frames"),
        ("data.crop.frames=[1,2,3]", "frames"),
        ("data.sampler.draw=\"all\"", "draw"),
        ("evaluation.dev=one", "dev"),
        ("corpus=5", "corpus"),
    ] {
        let message = refusal(&[change]);
        assert!(message.contains(key), "{change}: {message}");
    }
    // From a file the line is shown.
    let text = TINY.replace("steps = 1500\nstandardise", "steps = \"1500\"\nstandardise");
    let message = Recipe::parse(Path::new("mine.toml"), &text, &[]).expect_err("a string").to_string();
    assert!(message.contains("line 5") && message.contains("steps = \"1500\""), "{message}");
}

#[test]
fn an_impossible_value_is_an_error_that_names_the_key() {
    for (change, key) in [
        ("steps=0", "steps is 0"),
        ("steps=100000001", "steps is 100000001"),
        ("name=", "name"),
        ("checkpoints.every=0", "checkpoints.every is 0"),
        ("corpus.speakers=1", "corpus.speakers is 1"),
        ("corpus.utterances=0", "corpus.utterances is 0"),
        ("corpus.dev_speakers=1", "corpus.dev_speakers is 1"),
        ("encoder.bins=80", "encoder.bins is 80"),
        ("encoder.hidden=0", "encoder: "),
        ("encoder.projection=0", "projection"),
        ("encoder.layers=0", "layers"),
        ("front_end.preset=\"nobodys\"", "nobodys"),
        ("data.sampler.speakers=0", "sampler.speakers"),
        ("data.crop.frames=[100, 50]", "crop.frames"),
        ("data.crop.frames=[0, 50]", "crop.frames"),
        ("data.feature_offset.deviation=-1.0", "feature_offset.deviation"),
        ("optimizer.clip.norm=0.0", "norm"),
        ("optimizer.method.beta1=1.0", "beta1"),
        ("schedule.rate=-1.0", "rate"),
        ("schedule.warm_up=1500", "warm_up"),
        ("schedule.steps=0", "`schedule`"),
        ("evaluation.windows.hop=0", "hop"),
        ("evaluation.windows.frames=0", "frames"),
        ("evaluation.dev=[\"../secret\"]", "evaluation.dev has \"../secret\""),
        ("evaluation.test=[\"good\", \"a/b\"]", "evaluation.test has \"a/b\""),
        ("evaluation.test=[\"\"]", "evaluation.test has \"\""),
        ("corpus={ kind = \"manifest\", corpora = [], splits = [] }", "corpus.splits is empty"),
        ("objective.w=-1.0", "w"),
    ] {
        let message = refusal(&[change]);
        assert!(message.contains(key), "{change}: {message}");
        assert!(message.starts_with("recipe synthetic/td: ") || change.contains("preset"), "{change}: {message}");
    }
}

#[test]
fn a_change_reaches_keys_at_any_depth_and_nothing_else() {
    let plain = load("synthetic/td");
    let recipe = changed(&[
        "steps=7",
        "name=mine",
        " data.sampler.speakers = 3 ",
        "optimizer.method={ kind = \"sgd\", momentum = 0.5 }",
        "data.crop.frames=[30, 40]",
        "about=\"a = b\"",
    ])
    .unwrap();
    let mut want = plain.clone();
    want.steps = 7;
    want.name = "mine".to_owned();
    want.about = "a = b".to_owned();
    want.data.sampler.speakers = 3;
    want.data.crop.frames = [30, 40];
    want.optimizer.method = Method::Sgd { momentum: 0.5, nesterov: false, weight_decay: 0.0 };
    assert_eq!(recipe, want);
    // The later of two changes holds.
    assert_eq!(changed(&["steps=7", "steps=8"]).unwrap().steps, 8);
    assert_eq!(changed(&[]).unwrap(), plain);
}

#[test]
fn a_change_that_is_none_is_an_error_that_shows_it() {
    for (change, why) in [
        ("steps", "no `=`"),
        ("", "no `=`"),
        ("=5", "empty"),
        ("data.=5", "empty"),
        (".steps=5", "empty"),
        ("data..crop=5", "empty"),
        ("steps.more=5", "no table"),
        ("optimizer.method.kind.more=1", "no table"),
    ] {
        match changed(&[change]) {
            Err(error @ TrainError::Set { .. }) => {
                let message = error.to_string();
                assert!(message.contains(&format!("`{change}`")) && message.contains(why), "{message}");
            }
            other => panic!("{change}: {other:?}"),
        }
    }
    // A line end does not smuggle a second key in: the value is a string then, which steps is not.
    assert!(refusal(&["steps=5\nseed = 9"]).contains("steps"));
}

#[test]
fn a_recipe_that_is_nowhere_is_an_error_that_lists_those_there_are() {
    let error = Recipe::load("synthetic/tx", &[]).expect_err("no such recipe");
    assert!(matches!(&error, TrainError::UnknownRecipe { name } if name == "synthetic/tx"));
    assert!(Recipe::names().all(|name| error.to_string().contains(name)), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large.toml");
    fs::write(&large, vec![b'#'; (LARGEST + 1) as usize]).unwrap();
    let error = Recipe::load(large.to_str().unwrap(), &[]).expect_err("too large");
    assert!(error.to_string().contains("1048577 bytes"), "{error}");
    fs::write(&large, b"\xff\xfe").unwrap();
    let error = Recipe::load(large.to_str().unwrap(), &[]).expect_err("no text");
    assert!(matches!(error, TrainError::Read { .. }), "{error}");
}

#[test]
fn a_file_is_a_recipe_as_the_embedded_ones_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    fs::write(&path, TINY).unwrap();
    let mine = Recipe::load(path.to_str().unwrap(), &["seed=2".to_owned()]).unwrap();
    assert_eq!(mine, changed(&["seed=2"]).unwrap());
}

#[test]
fn the_hash_changes_with_every_change_and_with_nothing_else() {
    let plain = load("synthetic/td");
    let hash = plain.hash().unwrap();
    assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
    // Neither comments nor the order of keys nor defaults that are spelled out are a change.
    let commented = format!("# mine\n{}", TINY.replace("seed = 1\nsteps = 1500\n", "steps = 1500\nseed = 1\n"));
    let same = Recipe::parse(Path::new("x"), &commented, &["evaluation.dev=[]".to_owned()]).unwrap();
    assert_eq!(same.hash().unwrap(), hash);
    let mut hashes = vec![hash];
    for change in [
        "seed=2",
        "steps=1501",
        "about=other",
        "standardise=false",
        "corpus.seed=2",
        "data.crop.from=\"end\"",
        "data.memory_mib=7",
        "encoder.hidden=127",
        "initialisation.forget_bias=1.0",
        "objective.variant=\"contrast\"",
        "optimizer.clip.norm=3.0000000000000004",
        "schedule.share=0.03",
        "evaluation.every=251",
        "evaluation.windows.hop=51",
        "checkpoints.every=501",
    ] {
        hashes.push(changed(&[change]).unwrap_or_else(|error| panic!("{change}: {error}")).hash().unwrap());
    }
    let count = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), count);
}

#[test]
fn the_first_difference_names_its_key_and_both_values() {
    let plain = load("synthetic/td");
    for (change, key, was, is) in [
        ("steps=9", "steps", "1500", "9"),
        ("data.sampler.utterances=5", "data.sampler.utterances", "4", "5"),
        ("evaluation.dev=[\"a\"]", "evaluation.dev", "[]", "[\"a\"]"),
        ("encoder.head={ kind = \"linear\", size = 8 }", "encoder.head.kind", "\"none\"", "\"linear\""),
        ("front_end.vad=\"none\"", "front_end.vad", "absent", ""),
    ] {
        let other = match changed(&[change]) {
            Ok(other) => other,
            Err(_) => changed(&["front_end.vad={ kind = \"none\" }"]).unwrap(),
        };
        let (found, a, b) = plain.difference(&other).unwrap().expect("they differ");
        assert!(found.starts_with(key) && a == was && (is.is_empty() || b == is), "{found} {a} {b}");
        let (back, a, b) = other.difference(&plain).unwrap().expect("they differ");
        assert!(back == found && b == was && (is.is_empty() || a == is), "{back} {a} {b}");
    }
}

proptest! {
    #[test]
    fn no_change_makes_a_panic(change in ".{0,40}", key in "[a-z.]{0,12}", value in ".{0,20}") {
        for change in [change, format!("{key}={value}"), format!("steps={value}")] {
            if let Ok(recipe) = Recipe::load("synthetic/td", std::slice::from_ref(&change)) {
                // What is taken is a recipe like others.
                let text = recipe.to_toml().expect("every key has a place in TOML");
                prop_assert_eq!(Recipe::parse(Path::new("again"), &text, &[]).expect("written by us"), recipe);
            }
        }
    }
}
