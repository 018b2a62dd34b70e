//! What is said and how: phones with their lengths, then a row of targets every 5 ms: formants, levels, pitch.

use super::corpus::{Corpus, Syllables};
use super::draw::{Purpose, Stream};
use super::phones::{self, Manner, TABLE};
use super::speaker::Speaker;
use super::{RATE_HZ, ROW, SynthConfig};

/// Strength of the accents of the fixed phrase's vowels, common to all speakers.
const PHRASE_PATTERN: [f64; super::speaker::PHRASE_VOWELS] = [1.0, 0.3, 1.2, 0.2, 0.8, 0.5];
const ROW_MS: f64 = 1_000.0 * ROW as f64 / RATE_HZ as f64;
const BURST_MS: f64 = 12.0;
/// Weight of the last row in the two low-passes of the levels.
const LEVEL_INERTIA: f64 = 0.55;
/// Factor on the bandwidths of F2 and F3 in nasals, liquids, glides and voiced fricatives.
const NARROW_DAMPING: f64 = 1.8;
/// A habit cannot make a phone shorter or longer than this.
const LENGTH_MS: std::ops::RangeInclusive<f64> = 12.0..=400.0;

/// Targets of 5 ms, after smoothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    pub(crate) formants_hz: [f64; 6],
    pub(crate) bandwidth_hz: [f64; 6],
    pub(crate) voice: f64,
    pub(crate) breath: f64,
    pub(crate) friction: f64,
    pub(crate) friction_hz: f64,
    pub(crate) friction_width_hz: f64,
    pub(crate) pitch_hz: f64,
}

/// One recording before it is spoken: rows of [`ROW`] samples.
#[derive(Debug, Clone)]
pub(crate) struct Score {
    pub(crate) rows: Vec<Row>,
}

/// A stretch of constant targets.
#[derive(Debug, Clone)]
struct Piece {
    phone: usize,
    length_ms: f64,
    formants_hz: [f64; 3],
    voice: f64,
    breath: f64,
    friction: f64,
    /// True in the body of a vowel.
    vowel: bool,
}

/// A peak of the pitch.
#[derive(Debug, Clone, Copy)]
struct Accent {
    at_ms: f64,
    width_ms: f64,
    strength: f64,
}

impl Score {
    pub(crate) fn compose(speaker: &Speaker, utterance: u64) -> Self {
        let corpus = speaker.config.corpus;
        let mut phrase = Phrase::draw(speaker, utterance);
        phrase.fit(corpus);
        let total_ms = match corpus {
            Corpus::TextDependent => corpus.longest_ms(),
            Corpus::TextIndependent => phrase.lead_ms + phrase.spoken_ms() + corpus.tail_ms(),
        };
        let count = (total_ms / ROW_MS).round() as usize;
        let mut rows = levels_and_formants(speaker, &phrase, count);
        let mut draw = speaker.stream(Purpose::Contour, utterance);
        let accents = accents(speaker, &phrase, &mut draw);
        add_pitch(speaker, &phrase, &accents, &mut draw, &mut rows);
        Self { rows }
    }
}

/// The pieces of one recording, one after the other from `lead_ms`.
#[derive(Debug, Clone)]
struct Phrase {
    lead_ms: f64,
    pieces: Vec<Piece>,
}

impl Phrase {
    fn draw(speaker: &Speaker, utterance: u64) -> Self {
        let corpus = speaker.config.corpus;
        let mut draw = speaker.stream(Purpose::Phrase, utterance);
        let (low_ms, high_ms) = corpus.lead_ms();
        let lead_ms = draw.uniform(low_ms, high_ms);
        let text = match corpus.syllables() {
            Syllables::Fixed(phrase) => phrase.chars().filter_map(phones::index_of).map(Said::Phone).collect(),
            Syllables::Random => random_text(&speaker.config, &mut draw),
        };
        let pieces = pieces(speaker, &text, &mut speaker.stream(Purpose::Tokens, utterance));
        Self { lead_ms, pieces }
    }

    fn spoken_ms(&self) -> f64 {
        self.pieces.iter().map(|piece| piece.length_ms).sum()
    }

    /// What fits between the silence before and that after.
    fn room_ms(&self, corpus: Corpus) -> f64 {
        corpus.longest_ms() - self.lead_ms - corpus.tail_ms()
    }

    fn fit(&mut self, corpus: Corpus) {
        let (spoken_ms, room_ms) = (self.spoken_ms(), self.room_ms(corpus));
        match corpus {
            // Who is too slow for the recording hurries.
            Corpus::TextDependent if spoken_ms > room_ms => {
                self.pieces.iter_mut().for_each(|piece| piece.length_ms *= room_ms / spoken_ms);
            }
            Corpus::TextDependent => {}
            // What does not fit is not said.
            Corpus::TextIndependent => {
                let mut end_ms = 0.0;
                self.pieces.retain(|piece| {
                    end_ms += piece.length_ms;
                    end_ms <= room_ms
                });
            }
        }
    }
}

/// An item of a text.
#[derive(Debug, Clone, Copy)]
enum Said {
    Phone(usize),
    PauseMs(f64),
}

/// 11 to 15 syllables (C)V(C), with pauses.
fn random_text(config: &SynthConfig, draw: &mut Stream) -> Vec<Said> {
    const ONSETS: &str = "mnrskt";
    const VOWELS: &str = "aiu";
    const CODAS: &str = "ns";
    let pick = |letters: &str, draw: &mut Stream| {
        letters.chars().nth(draw.below(letters.len())).and_then(phones::index_of).map(Said::Phone)
    };
    let mut text = Vec::new();
    let syllables = 11 + draw.below(5);
    for number in 0..syllables {
        if number > 0 && draw.unit() < config.pause {
            text.push(Said::PauseMs(draw.uniform(80.0, config.pause_ms)));
        }
        if draw.unit() < 0.9 {
            text.extend(pick(ONSETS, draw));
        }
        text.extend(pick(VOWELS, draw));
        if draw.unit() < 0.15 {
            text.extend(pick(CODAS, draw));
        }
    }
    text
}

fn pieces(speaker: &Speaker, text: &[Said], draw: &mut Stream) -> Vec<Piece> {
    let config = &speaker.config;
    let rate = speaker.rate * draw.factor(config.take_rate);
    let tract = draw.factor(config.take_tract);
    let mut pieces: Vec<Piece> = Vec::with_capacity(2 * text.len());
    for said in text {
        let number = match *said {
            Said::Phone(number) => number,
            Said::PauseMs(length_ms) => {
                // The mouth stays where it was.
                if let Some(last) = pieces.last().cloned() {
                    pieces.push(Piece { length_ms, voice: 0.0, breath: 0.0, friction: 0.0, vowel: false, ..last });
                }
                continue;
            }
        };
        let (phone, habit) = (&TABLE[number], &speaker.habits[number]);
        let length_ms =
            (habit.length_ms / rate * draw.factor(config.take_length)).clamp(*LENGTH_MS.start(), *LENGTH_MS.end());
        let level = habit.level * draw.factor(config.take_level);
        let formants_hz = habit.formants_hz.map(|hz| hz * tract * draw.factor(config.take_formant));
        let friction = phone.friction * level * habit.friction_level;
        let body = Piece {
            phone: number,
            length_ms,
            formants_hz,
            voice: phone.voice * level,
            breath: phone.breath * level,
            friction,
            vowel: phone.manner == Manner::Vowel,
        };
        if phone.manner != Manner::Stop {
            pieces.push(body);
            continue;
        }
        pieces.push(Piece { breath: 0.0, friction: 0.0, ..body.clone() });
        pieces.push(Piece { length_ms: BURST_MS, voice: 0.0, breath: 0.0, ..body.clone() });
        if phone.breath > 0.0 {
            pieces.push(Piece { length_ms: speaker.voice_onset_ms, voice: 0.0, friction: 0.0, ..body });
        }
    }
    pieces
}

/// Two equal one-pole low-passes: a step arrives as an S, and a short phone misses its target, as in speech.
#[derive(Debug, Clone, Copy)]
struct Glide {
    weight: f64,
    state: [f64; 2],
}

impl Glide {
    fn new(weight: f64, start: f64) -> Self {
        Self { weight, state: [start; 2] }
    }

    fn towards(&mut self, target: f64) -> f64 {
        let mut value = target;
        for state in &mut self.state {
            *state = self.weight * *state + (1.0 - self.weight) * value;
            value = *state;
        }
        value
    }
}

fn levels_and_formants(speaker: &Speaker, phrase: &Phrase, count: usize) -> Vec<Row> {
    let Phrase { lead_ms, ref pieces } = *phrase;
    let Some(first) = pieces.first() else { return vec![Row::default(); count] };
    let weight = (-ROW_MS / speaker.inertia_ms).exp();
    let mut formants = first.formants_hz.map(|hz| Glide::new(weight, hz.ln()));
    let mut damping = Glide::new(weight, 1.0);
    let mut levels = [Glide::new(LEVEL_INERTIA, 0.0); 3];
    let mut rows = Vec::with_capacity(count);
    let mut current = 0;
    let mut end_ms = lead_ms + first.length_ms;
    for number in 0..count {
        let now_ms = (number as f64 + 0.5) * ROW_MS;
        while now_ms >= end_ms && current < pieces.len() {
            current += 1;
            end_ms += pieces.get(current).map_or(f64::INFINITY, |piece| piece.length_ms);
        }
        let piece = pieces.get(current).unwrap_or(&pieces[pieces.len() - 1]);
        let silent = now_ms < lead_ms || current == pieces.len();
        let aims = if silent { [0.0; 3] } else { [piece.voice, piece.breath, piece.friction] };
        let [voice, breath, friction] = std::array::from_fn(|k| levels[k].towards(aims[k]));

        let mut row = Row { voice, breath, friction, ..Row::default() };
        for (k, glide) in formants.iter_mut().enumerate() {
            row.formants_hz[k] = glide.towards(piece.formants_hz[k].ln()).exp();
            row.formants_hz[k + 3] = speaker.upper_hz[k];
        }
        for k in 1..6 {
            row.formants_hz[k] = row.formants_hz[k].max(1.08 * row.formants_hz[k - 1]);
        }
        // Half-closed tracts and the nose damp the middle formants.
        let narrow = (0.2..0.75).contains(&TABLE[piece.phone].voice);
        let damping = damping.towards(if narrow { NARROW_DAMPING } else { 1.0 });
        row.bandwidth_hz = speaker.bandwidth_hz;
        row.bandwidth_hz[1] *= damping;
        row.bandwidth_hz[2] *= damping;
        row.friction_hz = speaker.habits[piece.phone].friction_hz;
        row.friction_width_hz = TABLE[piece.phone].friction_width_hz;
        rows.push(row);
    }
    rows
}

fn accents(speaker: &Speaker, phrase: &Phrase, draw: &mut Stream) -> Vec<Accent> {
    let mut accents = Vec::new();
    let mut start_ms = phrase.lead_ms;
    for piece in &phrase.pieces {
        if piece.vowel {
            let own = match speaker.config.corpus {
                Corpus::TextDependent => {
                    let place = accents.len() % PHRASE_PATTERN.len();
                    let strength = PHRASE_PATTERN[place] + 0.2 * draw.normal();
                    speaker.accent * strength + speaker.phrase_accents[place]
                }
                Corpus::TextIndependent => speaker.accent * (draw.normal().abs() + 0.2 * draw.normal()),
            };
            accents.push(Accent {
                at_ms: start_ms + (0.5 + speaker.accent_place) * piece.length_ms,
                width_ms: 0.7 * piece.length_ms + 20.0,
                strength: own,
            });
        }
        start_ms += piece.length_ms;
    }
    accents
}

fn add_pitch(speaker: &Speaker, phrase: &Phrase, accents: &[Accent], draw: &mut Stream, rows: &mut [Row]) {
    let (lead_ms, spoken_ms) = (phrase.lead_ms, phrase.spoken_ms());
    let median = speaker.pitch_hz.ln() + speaker.config.take_pitch * draw.normal();
    let declination = speaker.declination * (1.0 + 0.3 * draw.normal());
    let fall = speaker.final_fall * (1.0 + 0.2 * draw.normal());
    let phase = draw.uniform(0.0, std::f64::consts::TAU);
    for (number, row) in rows.iter_mut().enumerate() {
        let now_ms = (number as f64 + 0.5) * ROW_MS;
        let spoken = ((now_ms - lead_ms) / spoken_ms.max(1.0)).clamp(0.0, 1.0);
        let mut log_pitch = median + declination * (now_ms - lead_ms) / 2_500.0;
        log_pitch += fall * ((spoken - 0.7) / 0.3).max(0.0);
        let turn = std::f64::consts::TAU * speaker.vibrato_hz * now_ms / 1_000.0;
        log_pitch += speaker.vibrato * (turn + phase).sin();
        for accent in accents {
            let off = (now_ms - accent.at_ms) / accent.width_ms;
            if off.abs() < 5.0 {
                log_pitch += accent.strength * (-0.5 * off * off).exp();
            }
        }
        row.pitch_hz = log_pitch.exp().clamp(55.0, 420.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_phrase_fits_its_recording_for_nearly_all_speakers() {
        let corpus = Corpus::TextDependent;
        let lengths = (0..400).map(|index| {
            let phrase = Phrase::draw(&Speaker::draw(5, corpus, index), index);
            (phrase.spoken_ms(), phrase.room_ms(corpus))
        });
        let (mut late, mut sum) = (0, 0.0);
        for (spoken_ms, room_ms) in lengths {
            late += usize::from(spoken_ms > room_ms);
            sum += spoken_ms;
        }
        assert!(late <= 20, "{late} of 400 have to hurry");
        assert!((700.0..1_100.0).contains(&(sum / 400.0)), "{} ms on average", sum / 400.0);
    }

    #[test]
    fn who_is_too_slow_hurries_and_all_phones_are_said() {
        let corpus = Corpus::TextDependent;
        let mut phrase = Phrase::draw(&Speaker::draw(5, corpus, 0), 0);
        phrase.pieces.iter_mut().for_each(|piece| piece.length_ms *= 3.0);
        let said = phrase.pieces.len();
        phrase.fit(corpus);
        assert_eq!(phrase.pieces.len(), said);
        assert!((phrase.spoken_ms() - phrase.room_ms(corpus)).abs() < 1e-9);
    }

    #[test]
    fn random_phrases_differ_and_end_before_their_recording() {
        let corpus = Corpus::TextIndependent;
        let speaker = Speaker::draw(5, corpus, 0);
        let phones = |take| -> Vec<usize> {
            let mut phrase = Phrase::draw(&speaker, take);
            phrase.fit(corpus);
            assert!(phrase.spoken_ms() <= phrase.room_ms(corpus));
            phrase.pieces.iter().map(|piece| piece.phone).collect()
        };
        assert_ne!(phones(0), phones(1));
    }

    #[test]
    fn a_glide_arrives_as_an_s() {
        // Weight 1/2, step 0 to 1: 1/4, then 1/2 (the first stage is at 1/2, 3/4), then 11/16.
        let mut glide = Glide::new(0.5, 0.0);
        assert_eq!([glide.towards(1.0), glide.towards(1.0), glide.towards(1.0)], [0.25, 0.5, 0.6875]);
    }

    #[test]
    fn formants_stay_in_order_and_pitch_in_range() {
        for index in 0..50 {
            let corpus = if index % 2 == 0 { Corpus::TextDependent } else { Corpus::TextIndependent };
            let score = Score::compose(&Speaker::draw(6, corpus, index), 0);
            for row in &score.rows {
                assert!(row.formants_hz.is_sorted_by(|a, b| a < b), "{:?}", row.formants_hz);
                assert!((55.0..=420.0).contains(&row.pitch_hz));
            }
        }
    }
}
