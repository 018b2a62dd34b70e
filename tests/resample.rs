//! The torchaudio resampler against torchaudio 2.8 (values and script in `golden/resample`).

use std::path::Path;

use common::data::{Tensors, difference};
use sv_audio::Waveform;
use sv_audio::resample::Resampler;

#[test]
fn torchaudio_resampling_equals_torchaudio_within_1e_6() {
    let golden = Tensors::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/resample/resample.safetensors"));
    let names = golden.names();
    let inputs: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix(".input")).collect();
    assert_eq!(inputs.len(), 14, "seven pairs of rates, two signals");
    for case in inputs {
        let rates: Vec<u32> = case.split('.').skip(1).map(|rate| rate.parse().expect("a rate")).collect();
        let input = Waveform::new(golden.get(&format!("{case}.input")).f32(), rates[0]).expect("finite samples");
        let output = input.resampled(rates[1], Resampler::Torchaudio).expect("rates in range");
        let (worst, _) = difference(output.samples(), &golden.get(&format!("{case}.output")).data);
        eprintln!("{case}: {worst:.1e}");
        assert!(worst <= 1e-6, "{case}: {worst:e}");
    }
}
