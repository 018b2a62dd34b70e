//! Every hyper-parameter of the recipes against Tables 1 to 4 and section 4.1 of the paper, and the small scale against both.

use candle_core::{Device, Tensor, Var};
use sv_losses::{
    AmSoftmaxOptions, BasesOptions, BetweenPart, CenterPart, Centroids, Embeddings, Ge2eOptions, HardPart,
    ObjectiveConfig, Pairs, Parameter, Reduction, SoftmaxPart, Variant,
};
use sv_models::EncoderConfig;
use sv_models::encoders::is_running_statistic;
use sv_models::encoders::resnet::ResNetConfig;
use sv_models::pair::{Difference, Length};

use super::*;
use crate::data::{Draw, TakeFrom};
use crate::optim::{AdamForm, Clip, Method, Optimizer, Schedule};

fn load(name: &str) -> Recipe {
    Recipe::load(name, &[]).unwrap_or_else(|error| panic!("{error}"))
}

fn scaled(name: &str) -> Recipe {
    Recipe::load(name, &mini(name).unwrap()).unwrap_or_else(|error| panic!("{error}"))
}

fn trained(table: Table) -> Vec<&'static str> {
    table.rows().iter().filter_map(|row| row.recipe).collect()
}

fn softmax() -> Option<SoftmaxPart> {
    Some(SoftmaxPart { weight: 1.0 })
}

fn center() -> Option<CenterPart> {
    Some(CenterPart { lambda: 0.001, alpha: 0.5 })
}

fn between() -> Option<BetweenPart> {
    Some(BetweenPart { weight: 1.0 })
}

fn hard(negatives: usize) -> BasesOptions {
    BasesOptions { hard: Some(HardPart { negatives, weight: 1.0 }), between: between(), ..BasesOptions::default() }
}

/// The objective of each recipe by the tables, and whether its weights decay: those of cosines do, those of inner products do not.
fn objective(name: &str) -> (ObjectiveConfig, bool) {
    let bases = |options, decays| (ObjectiveConfig::SpeakerBases(options), decays);
    let none = BasesOptions::default;
    match name {
        "heo2019/softmax" | "heo2019/metric-learning" => bases(BasesOptions { softmax: softmax(), ..none() }, false),
        "heo2019/center" | "heo2019/voxceleb2-center" => {
            bases(BasesOptions { softmax: softmax(), center: center(), ..none() }, false)
        }
        "heo2019/center-between" => {
            bases(BasesOptions { softmax: softmax(), center: center(), between: between(), ..none() }, false)
        }
        "heo2019/hard-between" | "heo2019/voxceleb2-hard100" => bases(hard(100), true),
        "heo2019/voxceleb2-hard50" => bases(hard(50), true),
        "heo2019/am-softmax" => {
            (ObjectiveConfig::AmSoftmax(AmSoftmaxOptions { margin: 0.35, scale: 5.0, reduction: Reduction::Sum }), true)
        }
        "heo2019/ge2e" => {
            let options = Ge2eOptions {
                variant: Variant::Contrast,
                centroids: Centroids::All,
                embeddings: Embeddings::Raw,
                reduction: Reduction::Sum,
                w: 10.0,
                b: -5.0,
            };
            (ObjectiveConfig::Ge2e(options), true)
        }
        other => panic!("{other}"),
    }
}

#[test]
fn every_trained_row_of_both_tables_is_a_recipe() {
    assert_eq!((trained(Table::Two).len(), trained(Table::Four).len()), (7, 3));
    let mut named: Vec<&str> = [trained(Table::Two), trained(Table::Four)].concat();
    named.sort_unstable();
    let mut all: Vec<&str> = Recipe::names().filter(|name| name.starts_with("heo2019/")).collect();
    all.sort_unstable();
    assert_eq!(named, all);
    assert!(Table::Two.rows()[0].recipe.is_none() && Table::Two.rows()[0].note.contains("later"));
    assert!(Table::Two.rows()[1].note.contains("our own"));
    let published: Vec<f64> = Table::Two.rows().iter().flat_map(|row| row.published).copied().collect();
    assert_eq!(published, [8.8, 7.8, 7.78, 6.55, 7.31, 10.65, 5.96, 5.55]);
    let published: Vec<&[f64]> = Table::Four.rows().iter().map(|row| row.published).collect();
    assert_eq!(published, [[2.99, 3.01, 5.19], [2.75, 2.71, 4.53], [2.66, 2.43, 4.08]]);
    let lists: Vec<&str> = Table::Four.lists().iter().map(|list| list[0]).collect();
    assert_eq!(lists, ["veri_test", "list_test_all", "list_test_hard"]);
}

#[test]
fn every_hyper_parameter_is_the_papers() {
    for table in [Table::Two, Table::Four] {
        for name in trained(table) {
            let recipe = load(name);
            let (expected, decays) = objective(name);
            assert_eq!(recipe.objective, expected, "{name}");
            // Adam at 0.001, Keras's constants.
            let weight_decay = if decays { 1e-4 } else { 0.0 };
            let adam = Method::Adam { form: AdamForm::Keras, beta1: 0.9, beta2: 0.999, epsilon: None, weight_decay };
            assert_eq!((recipe.optimizer.method, recipe.optimizer.clip), (adam, Clip::None {}), "{name}");
            assert_eq!(recipe.schedule, Schedule::Constant { rate: 1e-3 }, "{name}");
            let spared: Vec<&str> = recipe.optimizer.rules.iter().map(|rule| &rule.names[..]).collect();
            let all = ["*norm*", "*.bias", "ge2e.*"];
            assert_eq!(
                spared,
                all[..if !decays {
                    0
                } else if name == "heo2019/ge2e" {
                    3
                } else {
                    2
                }],
                "{name}"
            );
            assert!(recipe.optimizer.rules.iter().all(|rule| rule.weight_decay == 0.0 && rule.rate == 1.0), "{name}");
            // Batches of 100, for GE2E 20 speakers with five utterances; 3 s anywhere.
            let sampler = &recipe.data.sampler;
            let drawn = (sampler.speakers, sampler.utterances, sampler.draw);
            let expected = if name == "heo2019/ge2e" { (20, 5, Draw::Distinct) } else { (100, 1, Draw::Shuffled) };
            assert_eq!(drawn, expected, "{name}");
            assert_eq!((recipe.data.crop.frames, recipe.data.crop.from), ([300, 300], TakeFrom::Random), "{name}");
            assert!(recipe.data.augmentation.is_none() && recipe.data.copies.is_empty() && !recipe.standardise);
            assert_eq!(recipe.front_end.build().unwrap(), sv_audio::frontend::FrontEnd::heo2019(), "{name}");
            assert_eq!(recipe.initialisation, crate::Initialisation::Glorot { forget_bias: 0.0 }, "{name}");
            // 100 epochs of 148,642 recordings, or of 1,128,246.
            let (network, epoch, size) = match table {
                Table::Two => (ResNetConfig::heo_table1(), 1_486, 128),
                Table::Four => (ResNetConfig::heo_table3(), 11_282, 1_024),
            };
            assert_eq!((recipe.encoder.clone(), recipe.steps), (EncoderConfig::ResNet(network), 100 * epoch), "{name}");
            assert_eq!(recipe.encoder.embedding_size(), size, "{name}");
            let lists: Vec<&str> = table.lists().iter().map(|list| list[0]).collect();
            assert_eq!(recipe.evaluation.test, lists, "{name}");
            assert_eq!(recipe.evaluation.windows, sv_audio::windows::Windows::Whole, "{name}");
        }
    }
}

/// By the names of the tensors: weights of layers and bases decay, nothing else does.
#[test]
fn what_decays_are_the_weights_of_layers_and_of_classes() {
    for table in [Table::Two, Table::Four] {
        for name in trained(table).into_iter().filter(|name| objective(name).1) {
            let recipe = load(name);
            let tensors = recipe.encoder.tensors();
            let mut names: Vec<&str> =
                tensors.keys().map(String::as_str).filter(|name| !is_running_statistic(name)).collect();
            names.extend(if name == "heo2019/ge2e" { &["ge2e.w", "ge2e.b"][..] } else { &["classes.weight"] });
            // Without a gradient nothing moves but what decays.
            let one = |name: &&str| Parameter::new(*name, Var::new(&[1.0_f32], &Device::Cpu).unwrap());
            let parameters: Vec<Parameter> = names.iter().map(one).collect();
            let all: Vec<&Tensor> = parameters.iter().map(|parameter| parameter.var.as_tensor()).collect();
            let all = Tensor::cat(&all, 0).unwrap();
            let nothing = (&all * all.zeros_like().unwrap()).unwrap().sum_all().unwrap();
            let mut optimizer = Optimizer::new(&recipe.optimizer, parameters.clone()).unwrap();
            optimizer.step(&nothing.backward().unwrap(), 1e-3).unwrap();
            let moved = parameters.iter().filter(|parameter| parameter.var.to_vec1::<f32>().unwrap() != [1.0]);
            let decaying: Vec<&str> = moved.map(|parameter| &parameter.name[..]).collect();
            let is_weight = |name: &&str| {
                let convolution =
                    name.ends_with("conv.weight") || name.ends_with("conv1.weight") || name.ends_with("conv2.weight");
                convolution || *name == "embedding.weight" || *name == "classes.weight"
            };
            let expected: Vec<&str> = names.iter().copied().filter(is_weight).collect();
            assert_eq!(decaying, expected, "{name}");
            // 33 convolutions and 3 beside; a dense layer in Table 3's network; the bases.
            let bases = usize::from(name != "heo2019/ge2e");
            assert_eq!(decaying.len(), 36 + usize::from(table == Table::Four) + bases, "{name}");
        }
    }
}

#[test]
fn the_back_ends_are_those_of_table_4_and_of_our_own_baseline() {
    for name in trained(Table::Four) {
        let Some(BackEndConfig::BVector(back_end)) = load(name).back_end else { panic!("{name}") };
        assert_eq!((back_end.hidden, back_end.slope, back_end.difference), (vec![512; 3], 0.3, Difference::Signed));
        assert_eq!(back_end.length, Length::RootD, "{name}: lengths that L_H and L_BC leave free");
    }
    for name in trained(Table::Two) {
        match load(name).back_end {
            None => assert_ne!(name, "heo2019/metric-learning"),
            Some(BackEndConfig::Metric(back_end)) => {
                assert_eq!((name, back_end.size), ("heo2019/metric-learning", 256));
                assert_eq!(back_end.contrastive.pairs, Pairs::Balanced { hardest: 0.1 });
            }
            Some(other) => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn the_small_scale_changes_neither_network_nor_loss_nor_optimizer() {
    for table in [Table::Two, Table::Four] {
        for name in trained(table) {
            let (full, small) = (load(name), scaled(name));
            assert_eq!((&small.encoder, &small.objective), (&full.encoder, &full.objective), "{name}");
            assert_eq!((&small.optimizer, &small.schedule), (&full.optimizer, &full.schedule), "{name}");
            assert_eq!((&small.front_end, &small.initialisation), (&full.front_end, &full.initialisation), "{name}");
            assert_eq!(
                (small.data.crop.frames, small.steps),
                ([150, 150], if table == Table::Two { 600 } else { 150 })
            );
            let sampler = (small.data.sampler.speakers, small.data.sampler.utterances);
            assert_eq!(sampler, if name == "heo2019/ge2e" { (6, 5) } else { (32, 1) }, "{name}");
        }
    }
}

#[test]
fn a_back_end_that_cannot_be_is_refused_by_its_key() {
    let refusal = |name: &str, change: &str| {
        Recipe::load(name, &[change.to_owned()]).expect_err("a recipe that cannot be").to_string()
    };
    for (change, key) in [
        ("back_end.pairs=7", "pairs"),
        ("back_end.pairs=0", "pairs"),
        ("back_end.slope=2.0", "slope"),
        ("back_end.hidden=[0]", "hidden"),
        ("back_end.training.utterances=1", "training.utterances"),
        ("back_end.training.steps=0", "training.steps"),
        ("back_end.training.rate=0.0", "training.rate"),
        ("back_end.training.rates=1.0", "rates"),
        ("back_end.speakers=3", "speakers"),
    ] {
        let error = refusal("heo2019/voxceleb2-hard50", change);
        assert!(error.contains(key), "{change}: {error}");
    }
    for (change, key) in [
        ("back_end.speakers=1", "speakers"),
        ("back_end.size=0", "size"),
        ("back_end.contrastive.margin=0.0", "margin"),
        ("back_end.contrastive.pairs.hardest=1.5", "pairs.hardest"),
        ("encoder.form.heo.head='linear'", "without a linear layer"),
    ] {
        let error = refusal("heo2019/metric-learning", change);
        assert!(error.contains(key), "{change}: {error}");
    }
}
