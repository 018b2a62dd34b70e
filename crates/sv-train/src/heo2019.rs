//! The tables of Heo et al. 2019: which recipe is which row, what the paper reports, and the same at a small scale.

use crate::recipe::Recipe;
use crate::{TrainError, back_end::BackEndConfig};

/// A row of Table 2 or 4.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// The system, as the table calls it.
    pub system: &'static str,
    /// The loss, and the hyper-parameters that the table gives it.
    pub loss: &'static str,
    /// Our recipe; none for a row that is not trained here.
    pub recipe: Option<&'static str>,
    /// EER in percent that the paper prints, one a list.
    pub published: &'static [f64],
    /// What has to be said of our figure in this row.
    pub note: &'static str,
}

/// A table of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Table 2: the network of Table 1 trained on VoxCeleb1, cosine scores.
    Two,
    /// Table 4: the network of Table 3 trained on VoxCeleb2, b-vector scores.
    Four,
}

const TABLE_2: [Row; 8] = [
    Row {
        system: "i-vector PLDA reported in [16]",
        loss: "-",
        recipe: None,
        published: &[8.8],
        note: "not trained here yet: i-vectors and PLDA come in a later piece of work",
    },
    Row {
        system: "Metric learning reported in [16]",
        loss: "-",
        recipe: Some("heo2019/metric-learning"),
        published: &[7.8],
        note: "a baseline of our own, the paper only quotes a figure: the softmax network, frozen, and one layer of 256 trained on \
               pairs",
    },
    Row { system: "Softmax loss", loss: "L_S", recipe: Some("heo2019/softmax"), published: &[7.78], note: "" },
    Row {
        system: "Center loss",
        loss: "L_S + L_C, lambda 0.001, alpha 0.5",
        recipe: Some("heo2019/center"),
        published: &[6.55],
        note: "",
    },
    Row {
        system: "AM softmax",
        loss: "L_AMS, s 5, m 0.35, weight decay 0.0001",
        recipe: Some("heo2019/am-softmax"),
        published: &[7.31],
        note: "",
    },
    Row {
        system: "GE2E",
        loss: "L_G, 5 utterances a speaker, weight decay 0.0001",
        recipe: Some("heo2019/ge2e"),
        published: &[10.65],
        note: "",
    },
    Row {
        system: "Proposed 1",
        loss: "L_S + L_C + L_BC, lambda 0.001, alpha 0.5",
        recipe: Some("heo2019/center-between"),
        published: &[5.96],
        note: "",
    },
    Row {
        system: "Proposed 2",
        loss: "L_H + L_BC, H 100, weight decay 0.0001",
        recipe: Some("heo2019/hard-between"),
        published: &[5.55],
        note: "",
    },
];

const TABLE_4: [Row; 3] = [
    Row {
        system: "L_S + L_C",
        loss: "L_S + L_C",
        recipe: Some("heo2019/voxceleb2-center"),
        published: &[2.99, 3.01, 5.19],
        note: "lambda and alpha as in Table 2",
    },
    Row {
        system: "L_BC + L_H (H = 100)",
        loss: "L_BC + L_H, H 100",
        recipe: Some("heo2019/voxceleb2-hard100"),
        published: &[2.75, 2.71, 4.53],
        note: "weight decay as in Table 2",
    },
    Row {
        system: "L_BC + L_H (H = 50)",
        loss: "L_BC + L_H, H 50",
        recipe: Some("heo2019/voxceleb2-hard50"),
        published: &[2.66, 2.43, 4.08],
        note: "weight decay as in Table 2",
    },
];

impl Table {
    /// The rows, in the paper's order.
    #[must_use]
    pub fn rows(self) -> &'static [Row] {
        match self {
            Self::Two => &TABLE_2,
            Self::Four => &TABLE_4,
        }
    }

    /// The trial lists that the published figures are of, each as VoxCeleb's page calls it and as its cleaned version is called.
    #[must_use]
    pub fn lists(self) -> &'static [[&'static str; 2]] {
        const LISTS: [[&str; 2]; 3] =
            [["veri_test", "veri_test2"], ["list_test_all", "list_test_all2"], ["list_test_hard", "list_test_hard2"]];
        match self {
            Self::Two => &LISTS[..1],
            Self::Four => &LISTS,
        }
    }
}

/// Lists of the real speech at hand, with the copies through other channels.
const MINI_DEV: &str = r#"evaluation.dev=["speechocean762-dev-rechannelled", "speechocean762-dev"]"#;
const MINI_TEST: &str = r#"evaluation.test=["speechocean762-test", "speechocean762-test-rechannelled", "librispeech-mini-test", "librispeech-mini-test-rechannelled", "arabic-speech-commands-test", "arabic-speech-commands-test-rechannelled"]"#;

/// What makes the recipe `name` one for a few hundred speakers and some minutes: the same network, loss and optimizer; 32 rows
/// of 150 frames (6 speakers x 5 where a speaker has several), 600 steps, 150 of the network of Table 3; a shorter back end.
///
/// # Errors
/// Those of [`Recipe::load`].
pub fn mini(name: &str) -> Result<Vec<String>, TrainError> {
    let recipe = Recipe::load(name, &[])?;
    let mut changes: Vec<String> = ["data.crop.frames=[150, 150]", MINI_DEV, MINI_TEST].map(str::to_owned).to_vec();
    let speakers = if recipe.data.sampler.utterances > 1 { 6 } else { 32 };
    changes.push(format!("data.sampler.speakers={speakers}"));
    let steps = if matches!(recipe.back_end, Some(BackEndConfig::BVector(_))) { 150 } else { 600 };
    changes.extend([format!("steps={steps}"), format!("evaluation.every={}", steps / 2)]);
    changes.push("checkpoints.every=50".to_owned());
    if recipe.back_end.is_some() {
        changes.extend(["back_end.training.steps=2000", "back_end.training.utterances=20"].map(str::to_owned));
    }
    Ok(changes)
}

#[cfg(test)]
mod tests;
