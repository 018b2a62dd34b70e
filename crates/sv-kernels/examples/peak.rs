//! scratch
use std::time::Instant;
use sv_kernels::conv::*;
use sv_kernels::lstm::Threads;
fn main() {
    for (t, i, o, k) in
        [(301, 1024, 64, 1), (301, 1024, 1024, 1), (301, 3072, 3072, 1), (301, 128, 128, 3), (301, 80, 1024, 5)]
    {
        let w = vec![0.01; i * o * k];
        let sizes = Conv1dSizes { inputs: i, outputs: o, kernel: k, dilation: 2 };
        let l = Conv1d::new(sizes, &ConvWeights { weight: &w, bias: &[], activation: Activation::Relu, affine: None })
            .unwrap();
        for pad in [0, 16] {
            let x = vec![0.5; (t + sizes.reach()) * (i + pad)];
            let mut y = vec![0.0; t * (o + pad)];
            for threads in [Threads::One, Threads::Pool] {
                let mut best = f64::MAX;
                for _ in 0..40 {
                    let s = Instant::now();
                    l.run(Pass::new(t, Rows::new(&x, i + pad), RowsMut::new(&mut y, o + pad)), threads).unwrap();
                    best = best.min(s.elapsed().as_secs_f64());
                }
                println!(
                    "{t} {i} {o} {k} pad {pad} {threads:?}: {:.3} ms, {:.1} GMAC/s",
                    best * 1e3,
                    (t * i * o * k) as f64 / best / 1e9
                );
            }
        }
    }
}
