use proptest::prelude::*;

use super::*;

/// `clusters` clouds of `each` points of deviation 0.1 in `size` dimensions, the middles of two of them about `apart` from each other.
fn clouds(clusters: usize, each: usize, size: usize, apart: f64) -> Vec<Vec<f32>> {
    let mut random = SplitMix64::new(11);
    let middles: Vec<f64> = (0..clusters * size).map(|_| random.normals()[0] * apart).collect();
    (0..clusters * each)
        .map(|i| (0..size).map(|d| (middles[i / each * size + d] + 0.1 * random.normals()[0]) as f32).collect())
        .collect()
}

fn settings(perplexity: f64, steps: usize) -> Tsne {
    Tsne { perplexity, steps, ..Tsne::default() }
}

/// The position of the place that is nearest to each.
fn nearest(places: &[[f64; 2]]) -> Vec<usize> {
    let distance = |i: usize, j: usize| (places[i][0] - places[j][0]).hypot(places[i][1] - places[j][1]);
    (0..places.len())
        .map(|i| {
            let others = (0..places.len()).filter(|&j| j != i);
            others.min_by(|&a, &b| distance(i, a).total_cmp(&distance(i, b))).unwrap()
        })
        .collect()
}

#[test]
fn the_perplexity_of_every_point_is_the_wanted_one() {
    let points = clouds(3, 30, 7, 2.0);
    for perplexity in [1.5, 5.0, 29.9] {
        for (i, point) in points.iter().enumerate() {
            let others = points.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, other)| other);
            let distance =
                |other: &Vec<f32>| point.iter().zip(other).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
            let mut row: Vec<f64> = others.map(distance).collect();
            neighbours(&mut row, perplexity);
            // By its definition: 2 to the entropy in bits.
            let entropy: f64 = -row.iter().filter(|p| **p > 0.0).map(|p| p * p.log2()).sum::<f64>();
            assert!((entropy.exp2() / perplexity - 1.0).abs() < 1e-5, "{i}: {} for {perplexity}", entropy.exp2());
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }
}

#[test]
fn distances_of_any_magnitude_have_the_same_neighbours() {
    let row: Vec<f64> = (1..40).map(f64::from).collect();
    let shares = |factor: f64| {
        let mut row: Vec<f64> = row.iter().map(|distance| distance * factor).collect();
        neighbours(&mut row, 6.0);
        row
    };
    for factor in [1e-80, 1e-3, 1e70] {
        let worst = shares(factor).iter().zip(shares(1.0)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-5, "{factor}: {worst}");
    }
}

#[test]
fn ties_that_outnumber_the_perplexity_share_evenly() {
    let mut row = vec![4.0, 4.0, 9.0, 4.0, 9.0];
    let entropy = neighbours(&mut row, 2.0);
    // Three are equally near: not fewer than three neighbours can be told apart.
    assert!((entropy - 3.0_f64.ln()).abs() < 1e-9, "{entropy}");
    assert!((row[0] - 1.0 / 3.0).abs() < 1e-9 && row[2] < 1e-9, "{row:?}");
}

#[test]
fn similarities_of_both_orders_add_up_to_one() {
    let sum: f64 = similarities(&clouds(2, 10, 3, 1.0), 5.0).iter().sum();
    assert!((2.0 * sum - 1.0).abs() < 1e-12, "{sum}");
}

#[test]
fn similarities_divergence_and_gradient_are_scikit_learns() {
    // scikit-learn 1.9.1, manifold._t_sne: _joint_probabilities at perplexity 3 (its bisection ends within 1e-5), _kl_divergence.
    let points: Vec<[f32; 3]> =
        (0..12_u8).map(|i| [f32::from(i % 5), f32::from(i * i % 7), f32::from(i) / 3.0]).collect();
    let similar = similarities(&points, 3.0);
    let expected = [
        ((0, 1), 0.048_963_713),
        ((0, 5), 0.000_250_774),
        ((2, 3), 0.020_490_614),
        ((4, 11), 0.000_164_409),
        ((7, 9), 0.000_005_743),
        ((10, 11), 0.053_653_205),
    ];
    for (pair, value) in expected {
        let place = pairs(12).position(|other| other == pair).unwrap();
        assert!((similar[place] - value).abs() < 2e-6, "{pair:?}: {}", similar[place]);
    }
    let places: Vec<[f64; 2]> = (0..12_u8).map(|i| [0.3 * f64::from(i), 0.5 * f64::from(i * i % 5)]).collect();
    let mut close = vec![0.0; similar.len()];
    let got = divergence(&similar, &places, &mut close);
    assert!((got - 0.986_707_27).abs() < 2e-5, "{got}");
    let slopes = slopes(&similar, 1.0, &places, &mut close);
    for (point, value) in
        [(0, [0.009_519_59, -0.027_431_16]), (5, [0.006_611_4, 0.029_386_67]), (11, [-0.017_478_3, 0.060_903_23])]
    {
        for axis in 0..2 {
            assert!((slopes[point][axis] - value[axis]).abs() < 2e-5, "{point}: {:?}", slopes[point]);
        }
    }
}

#[test]
fn the_gradient_is_that_of_the_divergence() {
    let points = clouds(2, 8, 4, 1.0);
    let similar = similarities(&points, 4.0);
    let mut close = vec![0.0; similar.len()];
    let mut places = settings(4.0, 30).layout(&points).unwrap().places;
    let slopes = slopes(&similar, 1.0, &places, &mut close);
    for (point, axis) in (0..16).flat_map(|point| [(point, 0), (point, 1)]) {
        let was = places[point][axis];
        let mut at = |value: f64| {
            places[point][axis] = value;
            divergence(&similar, &places, &mut close)
        };
        let slope = (at(was + 1e-5) - at(was - 1e-5)) / 2e-5;
        places[point][axis] = was;
        assert!((slope - slopes[point][axis]).abs() < 1e-8, "{point} {axis}: {slope} and {}", slopes[point][axis]);
    }
}

#[test]
fn the_divergence_falls() {
    let points = clouds(4, 25, 16, 1.0);
    let after = |steps| settings(20.0, steps).layout(&points).unwrap().divergence;
    let [drawn, early, late, last] = [0, 100, 300, 1000].map(after);
    assert!(drawn > early && early > late && late >= last - 1e-3, "{drawn} {early} {late} {last}");
    assert!(last < 0.25 * drawn && last >= 0.0, "{drawn} to {last}");
}

#[test]
fn clusters_stay_apart() {
    for (clusters, perplexity) in [(2, 10.0), (5, 20.0)] {
        let points = clouds(clusters, 30, 32, 1.0);
        let places = settings(perplexity, 1000).layout(&points).unwrap().places;
        for (i, neighbour) in nearest(&places).into_iter().enumerate() {
            assert_eq!(i / 30, neighbour / 30, "{i} beside {neighbour} of {clusters} clusters");
        }
    }
}

#[test]
fn one_seed_gives_the_same_bits_and_another_seed_others() {
    let points = clouds(3, 12, 8, 1.0);
    let with = |seed| Tsne { seed, ..settings(8.0, 400) }.layout(&points).unwrap();
    let bits = |layout: &Layout| layout.places.iter().flatten().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&with(3)), bits(&with(3)));
    assert_ne!(bits(&with(3)), bits(&with(4)));
}

#[test]
fn the_middle_of_all_places_is_the_origin() {
    let places = settings(8.0, 200).layout(&clouds(3, 12, 8, 1.0)).unwrap().places;
    for axis in 0..2 {
        assert!(places.iter().map(|place| place[axis]).sum::<f64>().abs() < 1e-9);
    }
}

#[test]
fn equal_points_are_spread_and_no_number_is_lost() {
    for points in [vec![vec![0.0_f32; 3]; 20], vec![vec![f32::MAX, -f32::MAX]; 20]] {
        let layout = settings(5.0, 1000).layout(&points).unwrap();
        assert!(layout.places.iter().flatten().all(|value| value.is_finite()));
        // All similarities equal: no place is nearer to one than to another for a reason.
        assert!((0.0..1.0).contains(&layout.divergence), "{}", layout.divergence);
    }
}

#[test]
fn what_cannot_be_laid_out_is_an_error() {
    let points = |count: usize| vec![vec![1.0_f32, 2.0]; count];
    let of = |tsne: Tsne, points: &[Vec<f32>]| tsne.layout(points).expect_err("refused");
    for (count, perplexity) in [(0, 5.0), (15, 5.0), (3, 1.0), (5_001, 30.0)] {
        let got = of(settings(perplexity, 10), &points(count));
        assert_eq!(got, MetricsError::TsnePoints { points: count, perplexity, most: 5_000 });
    }
    assert!(settings(5.0, 10).layout(&points(16)).is_ok());
    let mut ragged = points(20);
    ragged[7].push(3.0);
    assert_eq!(of(settings(5.0, 10), &ragged), MetricsError::PointSize { point: 7, got: 3, need: 2 });
    let empty = vec![Vec::new(); 20];
    assert_eq!(of(settings(5.0, 10), &empty), MetricsError::PointSize { point: 0, got: 0, need: 1 });
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut broken = points(20);
        broken[9][1] = value;
        let got = of(settings(5.0, 10), &broken);
        assert!(matches!(got, MetricsError::PointNotFinite { point: 9, index: 1, .. }), "{got}");
    }
    let all = Tsne::default();
    for (setting, tsne) in [
        ("perplexity", Tsne { perplexity: 0.9, ..all }),
        ("perplexity", Tsne { perplexity: f64::NAN, ..all }),
        ("rate", Tsne { rate: 0.0, ..all }),
        ("rate", Tsne { rate: f64::INFINITY, ..all }),
        ("exaggeration", Tsne { exaggeration: 0.5, ..all }),
        ("number of steps", Tsne { steps: 1_000_001, ..all }),
    ] {
        let got = of(tsne, &points(200));
        assert!(matches!(got, MetricsError::TsneSetting { setting: found, .. } if found == setting), "{got}");
    }
}

proptest! {
    #[test]
    fn any_finite_points_come_to_lie_somewhere(
        points in (1_usize..5).prop_flat_map(|size| prop::collection::vec(
            prop::collection::vec(prop_oneof![any::<f32>().prop_filter("finite", |v| v.is_finite()), Just(0.0), -1.0_f32..1.0], size),
            4..40,
        )),
        share in 0.0_f64..1.0,
        rate in prop_oneof![Just(100.0), Just(1e4), Just(1e-300)],
        seed in any::<u64>(),
    ) {
        // The largest perplexity lies just below a third of the points.
        let perplexity = 1.0 + share * (points.len() as f64 / 3.0 - 1.0 - 1e-6).max(0.0);
        let tsne = Tsne { perplexity, steps: 120, rate, exaggeration: 12.0, seed };
        let layout = tsne.layout(&points).unwrap();
        prop_assert_eq!(layout.places.len(), points.len());
        prop_assert!(layout.places.iter().flatten().all(|value| value.is_finite()));
        prop_assert!(layout.divergence.is_finite() && layout.divergence >= -1e-9, "{}", layout.divergence);
    }
}
