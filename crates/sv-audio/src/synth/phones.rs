//! The phones: what the mouth aims at in each. Vowels have textbook averages of adult male speakers; the rest is chosen.

/// Number of phones.
pub(crate) const PHONES: usize = 28;

/// How a phone is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Open mouth, voice.
    Vowel,
    /// Voice through the nose.
    Nasal,
    /// Liquids and glides.
    Approximant,
    /// Noise at a narrowing, with voice or without, and `h`.
    Fricative,
    /// Closure, burst, and a stretch of breath if unvoiced.
    Stop,
}

/// Targets of one phone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Phone {
    /// Its letter in phrases.
    pub(crate) letter: char,
    pub(crate) manner: Manner,
    /// F1, F2, F3 in Hz.
    pub(crate) formants_hz: [f64; 3],
    /// Levels of voice, breath and friction, 0 to 1; of a stop: voice while closed, breath after and strength of the burst.
    pub(crate) voice: f64,
    pub(crate) breath: f64,
    pub(crate) friction: f64,
    /// Centre and width of the friction noise.
    pub(crate) friction_hz: f64,
    pub(crate) friction_width_hz: f64,
    /// Nominal length; of a stop: of its closure.
    pub(crate) length_ms: f64,
}

const fn vowel(letter: char, formants_hz: [f64; 3], length_ms: f64) -> Phone {
    let (friction_hz, friction_width_hz) = (4_000.0, 1_500.0);
    Phone {
        letter,
        manner: Manner::Vowel,
        formants_hz,
        voice: 1.0,
        breath: 0.0,
        friction: 0.0,
        friction_hz,
        friction_width_hz,
        length_ms,
    }
}

const fn voiced(letter: char, manner: Manner, formants_hz: [f64; 3], voice: f64, length_ms: f64) -> Phone {
    let mut phone = vowel(letter, formants_hz, length_ms);
    phone.manner = manner;
    phone.voice = voice;
    phone
}

const fn noisy(
    letter: char,
    manner: Manner,
    formants_hz: [f64; 3],
    [voice, breath, friction]: [f64; 3],
    (friction_hz, friction_width_hz): (f64, f64),
    length_ms: f64,
) -> Phone {
    Phone { letter, manner, formants_hz, voice, breath, friction, friction_hz, friction_width_hz, length_ms }
}

/// Every phone. The order is part of the generator's version: habits are drawn by position.
pub(crate) const TABLE: [Phone; PHONES] = {
    use Manner::{Approximant, Fricative, Nasal, Stop};
    [
        vowel('i', [270.0, 2290.0, 3010.0], 95.0),
        vowel('I', [390.0, 1990.0, 2550.0], 80.0),
        vowel('e', [530.0, 1840.0, 2480.0], 95.0),
        vowel('E', [660.0, 1720.0, 2410.0], 110.0),
        vowel('a', [730.0, 1090.0, 2440.0], 115.0),
        vowel('O', [570.0, 840.0, 2410.0], 110.0),
        vowel('o', [470.0, 900.0, 2380.0], 105.0),
        vowel('U', [440.0, 1020.0, 2240.0], 80.0),
        vowel('u', [300.0, 870.0, 2240.0], 95.0),
        vowel('V', [640.0, 1190.0, 2390.0], 85.0),
        voiced('m', Nasal, [280.0, 1000.0, 2200.0], 0.45, 70.0),
        voiced('n', Nasal, [280.0, 1650.0, 2600.0], 0.45, 65.0),
        voiced('l', Approximant, [360.0, 1250.0, 2700.0], 0.6, 65.0),
        voiced('r', Approximant, [420.0, 1250.0, 1650.0], 0.6, 60.0),
        voiced('w', Approximant, [300.0, 700.0, 2200.0], 0.6, 65.0),
        voiced('j', Approximant, [270.0, 2200.0, 3000.0], 0.6, 65.0),
        noisy('s', Fricative, [320.0, 1500.0, 2550.0], [0.0, 0.05, 0.55], (5400.0, 1800.0), 95.0),
        noisy('S', Fricative, [320.0, 1750.0, 2450.0], [0.0, 0.05, 0.55], (3000.0, 1200.0), 95.0),
        noisy('f', Fricative, [340.0, 1100.0, 2150.0], [0.0, 0.05, 0.2], (4500.0, 5000.0), 85.0),
        noisy('z', Fricative, [300.0, 1500.0, 2550.0], [0.4, 0.03, 0.35], (5400.0, 1800.0), 75.0),
        noisy('v', Fricative, [320.0, 1100.0, 2150.0], [0.45, 0.03, 0.12], (4500.0, 5000.0), 65.0),
        noisy('h', Fricative, [500.0, 1450.0, 2450.0], [0.0, 0.5, 0.0], (4000.0, 1500.0), 60.0),
        noisy('p', Stop, [320.0, 850.0, 2150.0], [0.0, 0.35, 0.3], (1000.0, 1500.0), 60.0),
        noisy('t', Stop, [320.0, 1750.0, 2650.0], [0.0, 0.35, 0.6], (4500.0, 2000.0), 55.0),
        noisy('k', Stop, [320.0, 1950.0, 2350.0], [0.0, 0.35, 0.5], (2200.0, 900.0), 55.0),
        noisy('b', Stop, [300.0, 850.0, 2150.0], [0.12, 0.0, 0.2], (1000.0, 1500.0), 55.0),
        noisy('d', Stop, [300.0, 1750.0, 2650.0], [0.12, 0.0, 0.4], (4000.0, 2000.0), 45.0),
        noisy('g', Stop, [300.0, 1950.0, 2350.0], [0.12, 0.0, 0.35], (2100.0, 900.0), 50.0),
    ]
};

/// Position in [`TABLE`] of a letter.
pub(crate) fn index_of(letter: char) -> Option<usize> {
    TABLE.iter().position(|phone| phone.letter == letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_names_one_phone() {
        for (index, phone) in TABLE.iter().enumerate() {
            assert_eq!(index_of(phone.letter), Some(index));
        }
        assert_eq!(index_of('?'), None);
    }

    #[test]
    fn formants_rise_and_lengths_are_those_stated() {
        for phone in &TABLE {
            let [first, second, third] = phone.formants_hz;
            assert!(200.0 < first && first < second && second < third && third < 3_500.0, "{}", phone.letter);
            assert!((45.0..=115.0).contains(&phone.length_ms), "{}", phone.letter);
        }
    }
}
