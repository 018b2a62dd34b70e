//! What a report says and what it must not let through, on made-up runs.

use sv_metrics::ScoredTrials;
use sv_metrics::dcf::CostModel;

use super::*;
use crate::report::summary::{
    Baseline, Corpus, CurvePoint, Histogram, ProgressPoint, ProtocolSummary, PublishedFigure, TrialSummary,
};

fn sample() -> RunSummary {
    let scores = ScoredTrials::from_kinds(&[0.9, 0.8, 0.7, 0.6], &[0.65, 0.5, 0.4, 0.3, 0.2]).unwrap();
    RunSummary {
        title: "First run".to_string(),
        recipe: "ti-softmax".to_string(),
        recipe_hash: "c0ffee12".to_string(),
        corpus: Corpus { name: "demo".to_string(), synthetic: true },
        seed: 7,
        steps: 12_000,
        minutes: 12.25,
        parameters: 210_434,
        front_end: "tf-ge2e".to_string(),
        encoder: "LSTM 3 x 128, 64".to_string(),
        loss: (1..=50).map(|step| CurvePoint { step, value: 30.0 / step as f64 }).collect(),
        evaluations: vec![
            ProgressPoint { step: 0, eer: 0.4321, interval: Some([0.4, 0.46]) },
            ProgressPoint { step: 12_000, eer: 0.0765, interval: None },
        ],
        trials: Some(TrialSummary {
            eer: 0.0345,
            ..TrialSummary::from_scores(&scores, Some([0.0211, 0.0499]), &CostModel::with_prior(0.01).unwrap())
        }),
        baselines: vec![Baseline { name: "LDA".to_string(), eer: 0.1234, interval: None }],
        protocol: Some(ProtocolSummary {
            speakers: vec!["ann".to_string(), "bob".to_string()],
            utterances: 2,
            similarity: vec![vec![0.91, 0.12], vec![0.83, 0.24], vec![0.35, 0.76], vec![0.47, 0.68]],
            eer: 0.0567,
            threshold: 0.58,
            far: 0.0111,
            frr: 0.1023,
        }),
        published: vec![PublishedFigure {
            system: "TensorFlow GE2E code".to_string(),
            what: "EER".to_string(),
            value: "0.09".to_string(),
            source: "README".to_string(),
        }],
        notes: vec!["Few utterances.".to_string()],
    }
}

/// Every text replaced by a hostile one.
fn hostile(text: &str) -> RunSummary {
    let text = || text.to_string();
    let mut run = sample();
    (run.title, run.recipe, run.recipe_hash, run.front_end, run.encoder) = (text(), text(), text(), text(), text());
    run.corpus.name = text();
    run.notes = vec![text()];
    run.baselines[0].name = text();
    run.published = vec![PublishedFigure { system: text(), what: text(), value: text(), source: text() }];
    run.protocol = run.protocol.map(|protocol| ProtocolSummary { speakers: vec![text(); 2], ..protocol });
    run
}

fn written(runs: &[RunSummary]) -> (String, String, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let files = write(runs, folder.path()).unwrap();
    let read = |path: &PathBuf| fs::read_to_string(path).unwrap();
    for plot in &files.plots {
        assert_eq!(plot.parent(), Some(folder.path().join("plots").as_path()), "a plot stays in its folder");
    }
    (read(&files.markdown), read(&files.html), files.plots.iter().map(read).collect())
}

#[test]
fn numbers_of_the_run_are_in_both_pages() {
    let (markdown, html, plots) = written(&[sample()]);
    let numbers = [
        "3.45 %",
        "2.11 to 4.99 %",
        "12.34 %",
        "5.67 %",
        "1.11 %",
        "10.23 %",
        "0.58",
        "43.21 %",
        "40.00 to 46.00 %",
        "7.65 %",
        "210,434",
        "12,000",
        "c0ffee12",
        "0.09",
        "minDCF at prior 0.01",
        "12.2",
        "One utterance moves FRR by 25.00 %",
    ];
    for number in numbers {
        assert!(markdown.contains(number), "{number} is not in\n{markdown}");
        assert!(html.contains(number), "{number} is not in the page");
    }
    assert_eq!(plots.len(), 5);
    for (part, plot) in [("similarity", 4), ("det", 2)] {
        assert!(markdown.contains(&format!("(plots/run1-ti-softmax-{part}.svg)")), "{markdown}");
        assert!(html.contains(&plots[plot]), "the plot is in the page");
    }
    for value in ["0.91", "0.12", "0.83", "0.24", "0.35", "0.76", "0.47", "0.68"] {
        assert!(plots[4].contains(&format!(">\n{value}\n</text>")), "{value}");
    }
}

#[test]
fn synthetic_voices_are_named_on_every_page_and_plot_and_real_ones_never() {
    let mut run = sample();
    let (markdown, html, plots) = written(&[run.clone(), run.clone()]);
    for text in plots.iter().chain([&markdown, &html]) {
        assert!(text.contains("synthetic voices"));
    }
    assert_eq!(html.matches("<figcaption>").count(), html.matches("synthetic voices).</figcaption>").count());
    run.corpus.synthetic = false;
    let (markdown, html, plots) = written(&[run]);
    for text in plots.iter().chain([&markdown, &html]) {
        assert!(!text.contains("synthetic"));
    }
}

#[test]
fn several_runs_get_a_section_each_and_plots_side_by_side() {
    let mut second = sample();
    second.title = "Second run".to_string();
    let (markdown, html, plots) = written(&[sample(), second]);
    assert_eq!(plots.len(), 3 + 5 + 5);
    for title in ["First run", "Second run"] {
        assert!(markdown.contains(&format!("\n## {title}\n")), "{markdown}");
        assert!(html.contains(&format!("<h2>{title}</h2>")));
        assert!(plots[0].contains(&format!("{title}: EER 3.45 %")), "{}", plots[0]);
    }
    // The published figure that both cite is there once.
    assert_eq!(markdown.matches("published: TensorFlow").count(), 1);
}

#[test]
fn hostile_names_stay_text() {
    for name in ["<script>alert(1)</script>", "\"><img src=x onerror=y>", "]]>&lt;</style></svg>", "../../x|y\n# z"] {
        let (markdown, html, plots) = written(&[hostile(name), hostile(name)]);
        for text in plots.iter().chain([&markdown, &html]) {
            for tag in ["<script", "<img", "]]>"] {
                assert!(!text.contains(tag), "{tag} of {name:?}");
            }
        }
        assert_eq!(html.matches("</style>").count(), 1);
        assert_eq!(html.matches("</svg>").count(), plots.len());
        assert!(!markdown.contains("\n# z"));
        assert!(!markdown.contains("](../"), "{markdown}");
        // Cells of a row: the name's own bar makes none.
        let wide = markdown
            .lines()
            .filter(|line| line.starts_with("| ours"))
            .map(|line| line.replace("\\|", "").matches('|').count());
        assert!(wide.into_iter().all(|bars| bars == 6));
    }
}

#[test]
fn pages_fetch_nothing() {
    let (_, html, _) = written(&[sample()]);
    for way in ["<script", "<link", "src=", "href=", "url(", "@import"] {
        assert!(!html.contains(way), "{way}");
    }
    // The only address is the name of the SVG language.
    assert_eq!(html.matches("://").count(), html.matches("xmlns=\"http://www.w3.org/2000/svg\"").count());
}

#[test]
fn plots_are_well_formed_whatever_the_names_hold() {
    for name in [
        "\u{0}\u{1b}[31m\u{7f}\u{fffe}",
        "a & b < c > \"d\" 'e'",
        "",
        "   ",
        &"long ".repeat(400),
        &"x".repeat(3000),
        "名前\u{202e}",
    ] {
        let (_, _, plots) = written(&[hostile(name)]);
        for plot in &plots {
            assert_eq!(plot.matches("<text").count(), plot.matches("</text>").count());
            assert!(plot.chars().all(|c| (c >= ' ' && c != '\u{7f}' && c != '\u{fffe}') || c == '\n'), "{name:?}");
            assert!(plot.len() < 200_000, "{} bytes", plot.len());
        }
    }
}

#[test]
fn degenerate_runs_are_reported() {
    let empty_histogram = Histogram { low: 0.0, high: 0.0, targets: vec![], non_targets: vec![] };
    let mut run = sample();
    run.loss = vec![
        CurvePoint { step: 0, value: f64::NAN },
        CurvePoint { step: u64::MAX, value: f64::INFINITY },
        CurvePoint { step: 5, value: 1e300 },
    ];
    run.evaluations = vec![
        ProgressPoint { step: 0, eer: f64::NAN, interval: Some([f64::NAN, f64::INFINITY]) },
        ProgressPoint { step: u64::MAX, eer: 0.0, interval: Some([f64::NEG_INFINITY, 0.1]) },
    ];
    run.trials = run.trials.map(|trials| TrialSummary {
        eer: 0.0,
        threshold: f64::INFINITY,
        det: vec![[0.0, 0.0], [f64::NAN, 2.0], [1.0, 1.0]],
        histogram: empty_histogram,
        ..trials
    });
    run.protocol = Some(ProtocolSummary {
        speakers: vec!["only".to_string()],
        utterances: 0,
        similarity: vec![vec![f64::NAN, 1.0, 2.0], vec![], vec![0.5]],
        eer: f64::NAN,
        threshold: f64::NAN,
        far: 0.0,
        frr: 0.0,
    });
    let (_, _, plots) = written(&[run.clone()]);
    assert!(plots[0].contains("2 values are not finite and left out"), "{}", plots[0]);
    assert!(plots[1].contains("1 value is not finite and left out"), "{}", plots[1]);
    assert!(plots[2].contains("EER 0.00 %, off the axes"), "{}", plots[2]);
    assert!(plots[3].contains("no finite threshold"), "{}", plots[3]);
    assert!(plots[4].contains("n/a"), "{}", plots[4]);
    // It is kept as JSON too.
    let text = serde_json::to_string(&run.loss).unwrap();
    assert_eq!(serde_json::from_str::<Vec<CurvePoint>>(&text).unwrap().len(), 3);

    run.loss.truncate(1);
    run.evaluations.truncate(1);
    if let (Some(trials), Some(protocol)) = (&mut run.trials, &mut run.protocol) {
        trials.det.clear();
        (protocol.speakers, protocol.similarity) = (vec![], vec![]);
    }
    assert_eq!(written(&[run.clone()]).2.len(), 5);
    (run.trials, run.protocol) = (None, None);
    run.loss.clear();
    run.evaluations.clear();
    assert_eq!(written(&[run]).2.len(), 0);
    assert!(written(&[]).0.contains("No run is reported."));
}

#[test]
fn equal_scores_draw_a_line_through_their_error_rate() {
    let scores = ScoredTrials::from_kinds(&[0.5; 4], &[0.5; 9]).unwrap();
    let mut run = sample();
    run.trials = Some(TrialSummary::from_scores(&scores, None, &CostModel::with_prior(0.01).unwrap()));
    let (_, _, plots) = written(&[run]);
    assert!(plots[2].contains("EER 50.00 %"));
    let curve = "<polyline fill=\"none\" opacity=\"1\" stroke=\"#0072B2\" stroke-width=\"2\"";
    assert_eq!(plots[2].matches(curve).count(), 1, "{}", plots[2]);
}

#[test]
fn a_large_matrix_is_drawn_without_its_values() {
    let mut run = sample();
    run.protocol = Some(ProtocolSummary {
        speakers: (0..60).map(|i| format!("speaker {i}")).collect(),
        utterances: 10,
        similarity: vec![vec![0.123; 60]; 600],
        eer: 0.0,
        threshold: 0.5,
        far: 0.0,
        frr: 0.0,
    });
    let (_, _, plots) = written(&[run]);
    assert!(!plots[4].contains("0.12\n"));
    assert!(plots[4].contains("speaker 0"));
}

#[test]
fn a_summary_is_kept_as_json() {
    let run = sample();
    let text = serde_json::to_string(&run).unwrap();
    assert_eq!(serde_json::from_str::<RunSummary>(&text).unwrap(), run);
    let strange = text.replacen("\"seed\"", "\"sead\":1,\"seed\"", 1);
    assert!(serde_json::from_str::<RunSummary>(&strange).is_err(), "an unknown key is refused");
}

#[test]
fn a_report_that_cannot_be_written_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = write(&[sample()], &file).expect_err("a file is no folder");
    assert!(matches!(&error, TrainError::Write { path, .. } if path.starts_with(&file)), "{error}");
    // Written twice, replaced.
    write(&[sample()], folder.path()).unwrap();
    write(&[sample()], folder.path()).unwrap();
    assert_eq!(fs::read_dir(folder.path().join("plots")).unwrap().count(), 5);
}
