//! Which dictionary of a pickle is the state dict. Iterative, each dictionary visited once, however they share and contain each other.

use std::collections::{BTreeMap, HashSet, VecDeque};

use super::tree::{Id, Node, Tensor, Tree};
use crate::checkpoint::problem::shown;
use crate::checkpoint::{Problem, Scalar, limits};

/// Keys under which training scripts put a state dict, in the order of preference.
const WRAPPERS: [&str; 5] = ["model_state", "state_dict", "model_state_dict", "model", "state"];

/// What an entry costs in memory beside its text.
const ENTRY_BYTES: usize = 32;

/// How many places a message lists.
const LISTED: usize = 8;

/// The chosen dictionary, and the plain values of all dictionaries.
pub(super) struct Found<'t> {
    pub(super) location: Vec<String>,
    pub(super) tensors: BTreeMap<&'t str, &'t Tensor>,
    pub(super) scalars: BTreeMap<String, Scalar>,
}

/// The dictionary under `keys`, or, where there are none, the one that the rule of [`StateDict::read`](crate::checkpoint::StateDict::read) finds.
pub(super) fn state_dict<'t>(tree: &'t Tree<'_>, keys: &[&str]) -> Result<Found<'t>, Problem> {
    let Survey { places, scalars } = survey(tree)?;
    let place = if keys.is_empty() { choose(tree, &places)? } else { named(&places, keys)? };
    let Node::Dict(entries) = tree.node(place.dict) else {
        return Err(Problem::NoStateDict { found: tree.root().kind().to_owned() });
    };
    let mut tensors = BTreeMap::new();
    for (name, value) in text_entries(tree, entries) {
        // As in Python, a later entry of the same name takes the place of the earlier.
        match tree.node(value) {
            Node::Tensor(tensor) => tensors.insert(name, &**tensor),
            _ => tensors.remove(name),
        };
        if tensors.len() > limits::TENSORS {
            return Err(Problem::TooLarge {
                what: "tensors",
                got: tensors.len() as u64,
                limit: limits::TENSORS as u64,
            });
        }
    }
    Ok(Found { location: place.path.iter().map(|&key| key.to_owned()).collect(), tensors, scalars })
}

/// A dictionary in which tensors lie.
struct Place<'t> {
    path: Vec<&'t str>,
    dict: Id,
}

struct Survey<'t> {
    places: Vec<Place<'t>>,
    scalars: BTreeMap<String, Scalar>,
}

/// Walks all dictionaries that text keys lead to, the outermost first.
fn survey<'t>(tree: &'t Tree<'_>) -> Result<Survey<'t>, Problem> {
    let mut survey = Survey { places: Vec::new(), scalars: BTreeMap::new() };
    let mut text_left = limits::TEXT_BYTES;
    let mut seen = HashSet::from([tree.root]);
    let mut waiting = VecDeque::from([(Vec::new(), tree.root)]);
    while let Some((path, dict)) = waiting.pop_front() {
        let Node::Dict(entries) = tree.node(dict) else { continue };
        let mut holds_tensors = false;
        for (key, value) in text_entries(tree, entries) {
            let scalar = match tree.node(value) {
                Node::Tensor(_) => {
                    holds_tensors = true;
                    continue;
                }
                Node::Dict(_) if seen.insert(value) => {
                    if path.len() == limits::DEPTH {
                        return Err(Problem::TooLarge {
                            what: "dictionaries inside each other",
                            got: limits::DEPTH as u64 + 1,
                            limit: limits::DEPTH as u64,
                        });
                    }
                    if seen.len() > limits::DICTIONARIES {
                        return Err(Problem::TooLarge {
                            what: "dictionaries",
                            got: seen.len() as u64,
                            limit: limits::DICTIONARIES as u64,
                        });
                    }
                    waiting.push_back((joined(&path, key), value));
                    continue;
                }
                Node::Int(value) => Scalar::Int(*value),
                Node::Float(value) => Scalar::Float(*value),
                Node::Bool(value) => Scalar::Bool(*value),
                Node::Text(text) => {
                    spend(&mut text_left, text.len())?;
                    Scalar::Text((*text).to_owned())
                }
                _ => continue,
            };
            spend(
                &mut text_left,
                path.iter().map(|key: &&str| key.len() + 1).sum::<usize>() + key.len() + ENTRY_BYTES,
            )?;
            survey.scalars.insert(joined(&path, key).join("."), scalar);
        }
        if holds_tensors {
            survey.places.push(Place { path, dict });
        }
    }
    Ok(survey)
}

fn choose<'p, 't>(tree: &Tree<'_>, places: &'p [Place<'t>]) -> Result<&'p Place<'t>, Problem> {
    // The places below the dictionary reached so far; each turn goes one key inward, so it ends.
    let mut below: Vec<&Place<'_>> = places.iter().collect();
    for depth in 0.. {
        let wrapper = WRAPPERS.iter().find(|wrapper| below.iter().any(|place| place.path.get(depth) == Some(wrapper)));
        if let Some(wrapper) = wrapper {
            below.retain(|place| place.path.get(depth) == Some(wrapper));
            continue;
        }
        if let Some(here) = below.iter().find(|place| place.path.len() == depth) {
            return Ok(here);
        }
        match *below {
            [] => break,
            [only] => return Ok(only),
            _ => {}
        }
        // Several below one key that is not a known wrapper are still undecided further in only if that key is the only one.
        let first = below[0].path.get(depth);
        if below.iter().any(|place| place.path.get(depth) != first) {
            return Err(Problem::Ambiguous { candidates: listed(&below) });
        }
    }
    Err(Problem::NoStateDict { found: tree.root().kind().to_owned() })
}

fn named<'p, 't>(places: &'p [Place<'t>], keys: &[&str]) -> Result<&'p Place<'t>, Problem> {
    places.iter().find(|place| place.path == keys).ok_or_else(|| Problem::NoSuchDictionary {
        wanted: keys.join("."),
        candidates: listed(&places.iter().collect::<Vec<_>>()),
    })
}

fn listed(places: &[&Place<'_>]) -> Vec<String> {
    let name = |place: &&Place<'_>| {
        if place.path.is_empty() { "(the outermost)".to_owned() } else { shown(&place.path.join(".")) }
    };
    places.iter().take(LISTED).map(name).collect()
}

/// The entries whose key is text, in order.
fn text_entries<'t>(tree: &'t Tree<'_>, entries: &'t [(Id, Id)]) -> impl Iterator<Item = (&'t str, Id)> {
    entries
        .iter()
        .filter_map(|&(key, value)| if let Node::Text(key) = tree.node(key) { Some((*key, value)) } else { None })
}

fn joined<'t>(path: &[&'t str], key: &'t str) -> Vec<&'t str> {
    let mut joined = Vec::with_capacity(path.len() + 1);
    joined.extend_from_slice(path);
    joined.push(key);
    joined
}

fn spend(left: &mut usize, bytes: usize) -> Result<(), Problem> {
    *left = left.checked_sub(bytes).ok_or(Problem::TooLarge {
        what: "bytes of text beside the tensors",
        got: limits::TEXT_BYTES as u64 + 1,
        limit: limits::TEXT_BYTES as u64,
    })?;
    Ok(())
}
