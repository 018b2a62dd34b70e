//! sv-metrics against the values of other systems: `metrics.safetensors` and `metrics.json` of the reference folder, at 1e-9.

use common::data::{Tensors, data_dir, reference_dir};
use serde_json::Value;
use sv_metrics::dcf::{self, CostModel};
use sv_metrics::eer::{self, EerConvention};
use sv_metrics::norm::{Deviation, NormKind, Normalization};
use sv_metrics::rates::{self, DetPoint};
use sv_metrics::{Acceptance, Label, ScoredTrials, Threshold, ThresholdOrigin, TrialFormat, Trials};

/// All values are f64 on both sides.
const TOLERANCE: f64 = 1e-9;

const SETS: [&str; 7] = ["normal", "ties", "separated", "inverted", "all_equal", "three", "llr"];

struct Reference {
    tensors: Tensors,
    results: Value,
}

impl Reference {
    fn read() -> Option<Self> {
        let folder = reference_dir()?;
        let tensors = Tensors::read(&folder.join("metrics.safetensors"));
        let text = std::fs::read_to_string(folder.join("metrics.json")).expect("metrics.json");
        Some(Self { tensors, results: serde_json::from_str(&text).expect("JSON") })
    }

    fn set(&self, name: &str) -> ScoredTrials {
        let labels: Vec<Label> = self.column(name, "labels").iter().map(|&l| label(l)).collect();
        ScoredTrials::new(&self.column(name, "scores"), &labels).expect("both kinds")
    }

    fn column(&self, set: &str, name: &str) -> Vec<f64> {
        self.tensors.get(&format!("{set}.{name}")).data
    }
}

fn label(value: f64) -> Label {
    if value == 1.0 { Label::Target } else { Label::NonTarget }
}

/// Checks one number; the reference writes null where a threshold is infinite.
fn assert_near(got: f64, expected: &Value, what: &str) {
    match expected.as_f64() {
        Some(expected) => assert!((got - expected).abs() <= TOLERANCE, "{what}: {got}, not {expected}"),
        None => assert!(expected.is_null() && got == f64::INFINITY, "{what}: {got}, not {expected}"),
    }
}

#[test]
fn every_eer_is_that_of_its_tool() {
    let Some(reference) = Reference::read() else { return };
    let rules = [
        ("interpolated", EerConvention::Interpolated),
        ("sklearn_brentq", EerConvention::Sklearn),
        ("nearest_point_max", EerConvention::NearestPoint),
        ("speechbrain", EerConvention::SpeechBrain),
        ("wespeaker", EerConvention::WeSpeaker),
        ("kaldi", EerConvention::Kaldi),
        ("grid_0.50_0.99", EerConvention::Grid),
        ("rocch", EerConvention::ConvexHull),
    ];
    for set in SETS {
        let trials = reference.set(set);
        let expected = reference.results[set]["eer"].as_object().expect("rules");
        assert_eq!(expected.len(), rules.len(), "a rule of the reference is not checked");
        for (rule, convention) in rules {
            let got = eer::eer_by(convention, &trials);
            assert_near(got.rate, &expected[rule]["eer"], &format!("{set} {rule}"));
            // The reference has no threshold for the convex hull.
            if let Some(threshold) = expected[rule].get("threshold") {
                assert_near(got.threshold, threshold, &format!("{set} {rule} threshold"));
            }
            // Rule by rule the rates at the threshold, where there is one: on "all_equal" the grid has none, and answers 0 for all.
            if let (Some(far), true) = (expected[rule].get("far"), got.threshold > 0.0) {
                let at = rates::rates_at(&trials, &threshold(got.threshold, got.acceptance));
                assert_near(at.far, far, &format!("{set} {rule} FAR"));
                assert_near(at.frr, &expected[rule]["frr"], &format!("{set} {rule} FRR"));
            }
        }
    }
}

fn threshold(value: f64, acceptance: Acceptance) -> Threshold {
    Threshold::new(value, acceptance, ThresholdOrigin::Caller).expect("finite")
}

#[test]
fn curve_and_hull_have_the_reference_points() {
    let Some(reference) = Reference::read() else { return };
    for set in SETS {
        let trials = reference.set(set);
        let columns = |points: &[DetPoint]| {
            let of = |value: fn(&DetPoint) -> f64| points.iter().map(value).collect::<Vec<_>>();
            [of(|p| p.threshold), of(|p| p.far), of(|p| p.frr)]
        };
        let [thresholds, far, frr] = columns(&rates::det(&trials));
        for (got, name) in [(thresholds, "det.threshold"), (far, "det.far"), (frr, "det.frr")] {
            assert_all_near(&got, &reference.column(set, name), &format!("{set} {name}"));
        }
        let [_, far, frr] = columns(&rates::convex_hull(&trials));
        let got: Vec<f64> = far.into_iter().zip(frr).flat_map(|(far, frr)| [far, frr]).collect();
        assert_all_near(&got, &reference.column(set, "hull"), &format!("{set} hull"));
    }
}

fn assert_all_near(got: &[f64], expected: &[f64], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((got - expected).abs() <= TOLERANCE, "{what} {index}: {got}, not {expected}");
    }
}

#[test]
fn costs_and_rates_are_the_references() {
    let Some(reference) = Reference::read() else { return };
    for set in SETS {
        let trials = reference.set(set);
        let expected = &reference.results[set];
        assert_eq!(expected["targets"], trials.targets());
        assert_eq!(expected["nontargets"], trials.non_targets());
        for (prior, name) in [(0.01, "p0.01"), (0.05, "p0.05")] {
            let model = CostModel::with_prior(prior).expect("a prior");
            let (got, row) = (dcf::min_dcf(&trials, &model), &expected[format!("min_dcf_{name}")]);
            for (got, key) in [(got.cost, "min_dcf"), (got.threshold, "threshold"), (got.far, "far"), (got.frr, "frr")]
            {
                assert_near(got, &row[key], &format!("{set} minDCF {name} {key}"));
            }
            let row = &expected[format!("min_dcf_{name}_speechbrain_unnormalised")];
            assert_near(dcf::min_dcf_speechbrain(&trials, &model), row, &format!("{set} SpeechBrain minDCF {name}"));
            let row = &expected[format!("act_dcf_{name}")];
            assert_near(dcf::act_dcf(&trials, &model), &row["act_dcf"], &format!("{set} actDCF {name}"));
            assert_near(model.bayes_threshold(), &row["threshold"], &format!("Bayes threshold {name}"));
        }
        assert_near(dcf::cllr(&trials), &expected["cllr"], &format!("{set} Cllr"));
        assert_near(dcf::min_cllr(&trials), &expected["min_cllr"], &format!("{set} min Cllr"));
        let at = rates::rates_at(&trials, &threshold(0.6, Acceptance::AtLeast));
        assert_near(at.far, &expected["far_frr_at_0.6"][0], &format!("{set} FAR at 0.6"));
        assert_near(at.frr, &expected["far_frr_at_0.6"][1], &format!("{set} FRR at 0.6"));
    }
}

#[test]
fn probits_and_the_ge2e_test_are_the_references() {
    let Some(reference) = Reference::read() else { return };
    for (rate, expected) in reference.results["probit"].as_object().expect("probits") {
        assert_near(rates::probit(rate.parse().expect("a rate")), expected, &format!("probit of {rate}"));
    }
    let similarity = reference.tensors.get("ge2e_protocol.similarity");
    let &[speakers, utterances, _] = similarity.shape.as_slice() else { panic!("three axes") };
    let got = eer::ge2e_protocol(&similarity.data, speakers, utterances).expect("an array");
    let expected = &reference.results["ge2e_protocol"];
    for (got, key) in [(got.eer, "eer"), (got.threshold, "threshold"), (got.far, "far"), (got.frr, "frr")] {
        assert_near(got, &expected[key], &format!("GE2E test {key}"));
    }
}

#[test]
fn every_normalised_score_is_the_references() {
    let Some(reference) = Reference::read() else { return };
    let column = |name: &str| reference.column("norm", name);
    let rows = |name: &str| {
        let values = reference.tensors.get(&format!("norm.{name}"));
        values.data.chunks(values.shape[1]).map(<[f64]>::to_vec).collect::<Vec<_>>()
    };
    let (raw, pairs) = (column("raw"), rows("pairs"));
    let (enrolment, test) = (rows("enrol_cohort"), rows("test_cohort"));
    let trials: Vec<_> = raw
        .iter()
        .zip(&pairs)
        .map(|(&raw, pair)| (raw, &enrolment[pair[0] as usize], &test[pair[1] as usize]))
        .collect();
    assert_eq!(trials.len(), 15);
    for (deviation, form) in [(Deviation::Population, "population"), (Deviation::Sample, "sample")] {
        for (top, label) in [(None, "all"), (10.try_into().ok(), "top10"), (1_000.try_into().ok(), "all")] {
            for (kind, letter) in [(NormKind::Z, "z"), (NormKind::T, "t"), (NormKind::S, "s")] {
                let rule = Normalization { kind, top, deviation };
                let side = |scores: &[f64]| rule.statistics(scores).expect("a deviation");
                let got: Vec<f64> = trials.iter().map(|(raw, e, t)| rule.apply(*raw, side(e), side(t))).collect();
                let name = format!("{form}.{label}.{letter}");
                assert_all_near(&got, &column(&name), &name);
            }
        }
    }
    let rule = Normalization { kind: NormKind::S, top: 10.try_into().ok(), deviation: Deviation::Population };
    let crossed = trials.iter().map(|(raw, e, t)| rule.apply_crossed(*raw, e, t).expect("a deviation"));
    assert_all_near(&crossed.collect::<Vec<_>>(), &column("population.top10.cross"), "crossed");
}

#[test]
fn every_trial_list_of_the_data_is_read_and_written_as_it_is() {
    let Some(folder) = data_dir() else { return };
    let mut lists = 0;
    for entry in std::fs::read_dir(folder.join("trials")).expect("trials") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a list");
        let list = Trials::parse(&text, TrialFormat::VoxCeleb).expect("a list");
        assert_eq!(list.to_string(), text, "{}", path.display());
        let targets = list.pairs().iter().filter(|pair| pair.label == Some(Label::Target)).count();
        assert_eq!(2 * targets, list.pairs().len(), "{}: half of each list are targets", path.display());
        assert!(list.files().iter().all(|file| folder.join(file).is_file()), "{}", path.display());
        lists += 1;
    }
    assert!(lists > 0, "no list in {}", folder.display());
}
