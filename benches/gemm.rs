//! The yardstick of `cargo xtask bench --training`: prints `ready`, and for each line read the seconds of one product of
//! f32, 1024 x 1024 x 1024, the median of seven. It is candle's, that is the `gemm` crate's, on as many threads as
//! RAYON_NUM_THREADS says.
//!
//! A process of its own, because the product shall use AVX-512 where the CPU has it, and a feature that the developers'
//! tool switched on for this would change what it trains to the bit.
#![forbid(unsafe_code)]

use std::io::{BufRead, Write};
use std::time::Instant;

use candle_core::{Device, Tensor};
use sv_benches::workload::{SIDE, noise};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let square = |seed| Tensor::from_vec(noise(seed, SIDE * SIDE, 1.0), (SIDE, SIDE), &Device::Cpu);
    let (a, b) = (square(1)?, square(2)?);
    sv_kernels::ops::matmul(&a, &b)?;
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lock().lines() {
        line?;
        let mut seconds = [0.0; 7];
        for seconds in &mut seconds {
            let start = Instant::now();
            sv_kernels::ops::matmul(&a, &b)?;
            *seconds = start.elapsed().as_secs_f64();
        }
        seconds.sort_by(f64::total_cmp);
        writeln!(out, "{{\"seconds\": {}}}", seconds[3])?;
    }
    Ok(())
}
