//! Who is in a batch: classes without repetition, and rows of each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{DataError, Draw, PieceId, SamplerConfig};
use crate::{Purpose, Stream};

/// What a batch draws from.
#[derive(Debug)]
pub(super) struct Sampler {
    config: SamplerConfig,
    /// Names of the classes that qualify, sorted; their places are the numbers in a batch.
    pub(super) names: Vec<String>,
    classes: Vec<Class>,
    /// With phrases together: the classes of each speaker who has two or more.
    together: Vec<Vec<usize>>,
    /// When shuffled: the class of each recording, the recording and its number of pieces.
    recordings: Vec<(u32, u32, u32)>,
    /// The order of the last epoch that was drawn from.
    order: Mutex<Option<(EpochKey, Arc<Vec<usize>>)>>,
}

/// A seed and the number of an epoch.
type EpochKey = (u64, u64);

/// A class: its recordings that have a piece, and how many each has.
#[derive(Debug, Default, Clone)]
pub(super) struct Class {
    pub(super) speaker: String,
    pub(super) recordings: Vec<(u32, u32)>,
}

impl Sampler {
    /// Takes all classes by name; gives the sampler and the names of those that do not qualify.
    pub(super) fn new(
        config: &SamplerConfig,
        classes: BTreeMap<String, Class>,
    ) -> Result<(Self, Vec<String>), DataError> {
        let least = if config.draw == Draw::Distinct { config.utterances } else { 1 };
        let least = least.max(config.least_recordings.unwrap_or(0));
        let (mut qualified, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
            classes.into_iter().partition(|(_, class)| class.recordings.len() >= least);
        let mut dropped: Vec<String> = rest.into_keys().collect();

        let mut together = Vec::new();
        let (mut what, mut need) = ("speakers", config.speakers);
        if config.phrases_together {
            (what, need) = ("speakers with two phrases", config.speakers / 2);
            let mut of_speaker: BTreeMap<String, usize> = BTreeMap::new();
            for class in qualified.values() {
                *of_speaker.entry(class.speaker.clone()).or_default() += 1;
            }
            let (pairs, single) = qualified.into_iter().partition(|(_, class)| of_speaker[&class.speaker] >= 2);
            qualified = pairs;
            let single: BTreeMap<String, Class> = single;
            dropped.extend(single.into_keys());
            let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
            for (place, class) in qualified.values().enumerate() {
                places.entry(&class.speaker).or_default().push(place);
            }
            together = places.into_values().collect();
        }
        dropped.sort_unstable();
        let shuffled = config.draw == Draw::Shuffled;
        if shuffled {
            qualified.retain(|_, class| !class.recordings.is_empty());
            let have = qualified.values().map(|class| class.recordings.len()).sum();
            if have < need {
                let first = dropped.iter().take(5).cloned().collect();
                return Err(DataError::TooFewClasses { what: "recordings", have, need, dropped: dropped.len(), first });
            }
        }
        let have = if config.phrases_together { together.len() } else { qualified.len() };
        if have < need && !shuffled {
            let first = dropped.iter().take(5).cloned().collect();
            return Err(DataError::TooFewClasses { what, have, need, dropped: dropped.len(), first });
        }
        let (names, classes): (Vec<String>, Vec<Class>) = qualified.into_iter().unzip();
        let mut recordings = Vec::new();
        if shuffled {
            for (class, of_class) in classes.iter().enumerate() {
                recordings
                    .extend(of_class.recordings.iter().map(|&(recording, pieces)| (class as u32, recording, pieces)));
            }
            // By recording: the order of an epoch depends on the seed, and not on how speakers are called.
            recordings.sort_unstable_by_key(|&(_, recording, _)| recording);
        }
        let order = Mutex::default();
        Ok((Self { config: config.clone(), names, classes, together, recordings, order }, dropped))
    }

    /// The class and piece of each row, M rows of one class after the other.
    pub(super) fn draw(&self, seed: u64, step: u64) -> Vec<(u32, PieceId)> {
        let SamplerConfig { speakers, utterances, draw, phrases_together, .. } = self.config;
        if draw == Draw::Shuffled {
            return self.draw_shuffled(seed, step);
        }
        let mut stream = Stream::new(seed, Purpose::Sampling, step, 0);
        let classes: Vec<usize> = if phrases_together {
            let drawn = stream.distinct(self.together.len(), speakers / 2);
            let mut classes = Vec::with_capacity(speakers);
            for speaker in drawn {
                let places = &self.together[speaker];
                classes.extend(stream.distinct(places.len(), 2).into_iter().map(|phrase| places[phrase]));
            }
            classes
        } else {
            stream.distinct(self.classes.len(), speakers)
        };

        let mut rows = Vec::with_capacity(speakers * utterances);
        for (place, class) in classes.into_iter().enumerate() {
            // A stream a class: another M leaves the classes of the batch as they are.
            let mut stream = Stream::new(seed, Purpose::Sampling, step, 1 + place as u64);
            let recordings = &self.classes[class].recordings;
            let mut push = |(recording, piece): (u32, u32)| rows.push((class as u32, PieceId { recording, piece }));
            match draw {
                Draw::WithReplacement => {
                    let pieces: usize = recordings.iter().map(|&(_, pieces)| pieces as usize).sum();
                    for _ in 0..utterances {
                        push(nth_piece(recordings, stream.below(pieces)));
                    }
                }
                Draw::Distinct | Draw::Crops | Draw::Shuffled => {
                    let mut left = utterances;
                    while left > 0 {
                        let drawn = stream.distinct(recordings.len(), left);
                        left -= drawn.len();
                        for place in drawn {
                            let (recording, pieces) = recordings[place];
                            push((recording, stream.below(pieces as usize) as u32));
                        }
                    }
                }
            }
        }
        rows
    }

    /// As many recordings of the epoch's order as a batch has rows, of each any piece.
    fn draw_shuffled(&self, seed: u64, step: u64) -> Vec<(u32, PieceId)> {
        let rows = self.config.speakers;
        let batches = (self.recordings.len() / rows) as u64;
        let (epoch, batch) = (step / batches, (step % batches) as usize);
        let order = self.order_of(seed, epoch);
        let mut stream = Stream::new(seed, Purpose::Sampling, step, 0);
        let row = |&place: &usize| {
            let (class, recording, pieces) = self.recordings[place];
            (class, PieceId { recording, piece: stream.below(pieces as usize) as u32 })
        };
        order[batch * rows..(batch + 1) * rows].iter().map(row).collect()
    }

    /// Drawn once an epoch: of a million recordings it takes longer than a batch.
    fn order_of(&self, seed: u64, epoch: u64) -> Arc<Vec<usize>> {
        // What is behind the lock is whole or absent, whoever panicked.
        let mut kept = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((key, order)) = &*kept
            && *key == (seed, epoch)
        {
            return Arc::clone(order);
        }
        let mut stream = Stream::new(seed, Purpose::Sampling, epoch, EPOCHS);
        let order = Arc::new(stream.distinct(self.recordings.len(), self.recordings.len()));
        *kept = Some(((seed, epoch), Arc::clone(&order)));
        order
    }
}

/// Item of the streams that orders of epochs are drawn from; their steps are epochs.
const EPOCHS: u64 = 1 << 32;

/// Piece number `index` of all pieces of these recordings.
fn nth_piece(recordings: &[(u32, u32)], mut index: usize) -> (u32, u32) {
    for &(recording, pieces) in recordings {
        if index < pieces as usize {
            return (recording, index as u32);
        }
        index -= pieces as usize;
    }
    // Not reached: the index is below the number of pieces. The first piece is a piece.
    recordings.first().map_or((0, 0), |&(recording, _)| (recording, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Classes of speakers a, b, ... with the given numbers of pieces of each recording; recordings count through.
    fn classes(pieces: &[&[u32]]) -> BTreeMap<String, Class> {
        let mut next = 0;
        let mut numbered = |pieces: u32| {
            next += 1;
            (next - 1, pieces)
        };
        let named = pieces.iter().zip('a'..).map(|(pieces, name)| {
            let recordings = pieces.iter().map(|&pieces| numbered(pieces)).collect();
            (name.to_string(), Class { speaker: name.to_string(), recordings })
        });
        named.collect()
    }

    fn config(speakers: usize, utterances: usize, draw: Draw) -> SamplerConfig {
        SamplerConfig {
            speakers,
            utterances,
            draw,
            phrases_together: false,
            once_per_frames: None,
            least_recordings: None,
        }
    }

    #[test]
    fn distinct_draws_take_different_classes_and_different_recordings() {
        let all = classes(&[&[1, 2, 1], &[1, 1], &[3, 1, 1, 1], &[1, 1, 1]]);
        let (sampler, dropped) = Sampler::new(&config(2, 3, Draw::Distinct), all).unwrap();
        assert_eq!(
            (dropped, sampler.names.as_slice()),
            (vec!["b".to_owned()], ["a", "c", "d"].map(String::from).as_slice())
        );
        let mut seen = BTreeSet::new();
        for step in 0..200 {
            let rows = sampler.draw(1, step);
            assert_eq!(rows.len(), 6);
            assert!(rows.chunks(3).all(|rows| rows.iter().all(|row| row.0 == rows[0].0)));
            assert_ne!(rows[0].0, rows[3].0);
            for rows in rows.chunks(3) {
                let recordings: BTreeSet<u32> = rows.iter().map(|row| row.1.recording).collect();
                assert_eq!(recordings.len(), 3, "step {step}");
            }
            seen.extend(rows.into_iter().map(|row| row.1));
        }
        // Every piece of the qualified: 4 + 6 + 3.
        assert_eq!(seen.len(), 13);
    }

    #[test]
    fn crops_repeat_a_recording_only_when_all_were_drawn() {
        let (sampler, _) = Sampler::new(&config(2, 5, Draw::Crops), classes(&[&[1], &[1, 1]])).unwrap();
        let mut counts = BTreeMap::new();
        for (_, id) in sampler.draw(1, 0) {
            *counts.entry(id.recording).or_insert(0) += 1;
        }
        // Recording 0 five times; of the two of b one three times, one twice.
        assert_eq!(counts[&0], 5);
        assert_eq!((counts[&1] + counts[&2], counts[&1].max(counts[&2])), (5, 3));
    }

    #[test]
    fn drawing_with_replacement_repeats_and_reaches_every_piece() {
        let (sampler, _) = Sampler::new(&config(1, 4, Draw::WithReplacement), classes(&[&[2, 1]])).unwrap();
        let (mut seen, mut repeated) = (BTreeSet::new(), false);
        for step in 0..50 {
            let ids: Vec<PieceId> = sampler.draw(1, step).into_iter().map(|row| row.1).collect();
            repeated |= ids.iter().collect::<BTreeSet<_>>().len() < 3;
            seen.extend(ids);
        }
        assert!(repeated && seen.len() == 3);
    }

    #[test]
    fn phrases_together_give_two_phrases_of_each_speaker() {
        let class = |speaker: &str, recording| Class { speaker: speaker.into(), recordings: vec![(recording, 1)] };
        let all = BTreeMap::from([
            ("a A".to_owned(), class("a", 0)),
            ("a B".to_owned(), class("a", 1)),
            ("b A".to_owned(), class("b", 2)),
            ("c A".to_owned(), class("c", 3)),
            ("c B".to_owned(), class("c", 4)),
        ]);
        let config = SamplerConfig { phrases_together: true, ..config(4, 1, Draw::Distinct) };
        let (sampler, dropped) = Sampler::new(&config, all.clone()).unwrap();
        assert_eq!(dropped, ["b A"]);
        for step in 0..20 {
            let names: Vec<&str> = sampler.draw(1, step).iter().map(|row| &*sampler.names[row.0 as usize]).collect();
            assert_eq!(names[0][..1], names[1][..1]);
            assert_eq!(names[2][..1], names[3][..1]);
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 4);
        }
        let more = SamplerConfig { speakers: 6, ..config };
        let error = Sampler::new(&more, all).unwrap_err();
        assert!(matches!(error, DataError::TooFewClasses { have: 2, need: 3, dropped: 1, .. }), "{error}");
    }

    #[test]
    fn shuffled_draws_take_every_recording_once_an_epoch_in_another_order_each() {
        let all = classes(&[&[1, 2, 1], &[], &[1], &[3, 1, 1]]);
        let (sampler, _) = Sampler::new(&config(3, 1, Draw::Shuffled), all.clone()).unwrap();
        assert_eq!(sampler.names, ["a", "c", "d"]);
        let epoch = |epoch: u64| -> Vec<(u32, PieceId)> {
            (0..2).flat_map(|batch| sampler.draw(1, 2 * epoch + batch)).collect()
        };
        let (first, second) = (epoch(0), epoch(1));
        for rows in [&first, &second] {
            // Seven recordings, three a batch: one of them is left out of each epoch, none comes twice.
            let drawn: BTreeSet<u32> = rows.iter().map(|row| row.1.recording).collect();
            assert_eq!((rows.len(), drawn.len()), (6, 6));
            for (class, id) in rows {
                assert_eq!(*class, [0, 0, 0, 1, 2, 2, 2][id.recording as usize]);
            }
        }
        assert_ne!(first, second);
        // Out of order, as workers ask: the same.
        assert_eq!(epoch(0), first);
        let error = Sampler::new(&config(8, 1, Draw::Shuffled), all).unwrap_err();
        assert!(matches!(error, DataError::TooFewClasses { what: "recordings", have: 7, need: 8, .. }), "{error}");
    }

    #[test]
    fn a_class_of_fewer_recordings_than_asked_for_is_left_out() {
        let few = SamplerConfig { least_recordings: Some(2), ..config(3, 1, Draw::Shuffled) };
        let (sampler, dropped) = Sampler::new(&few, classes(&[&[1, 1], &[5], &[1, 1, 1]])).unwrap();
        assert_eq!(
            (sampler.names.as_slice(), dropped),
            (["a", "c"].map(String::from).as_slice(), vec!["b".to_owned()])
        );
        assert!((0..20).all(|step| sampler.draw(1, step).iter().all(|row| row.1.recording != 2)));
    }

    #[test]
    fn too_few_speakers_are_an_error_that_names_who_was_left_out() {
        let error = Sampler::new(&config(2, 2, Draw::Distinct), classes(&[&[1, 1], &[1], &[]])).unwrap_err();
        assert!(
            matches!(&error, DataError::TooFewClasses { have: 1, need: 2, dropped: 2, first, .. } if *first == ["b", "c"]),
            "{error}"
        );
    }
}
