//! Several ranks give the picture that one gives, each from its part of the weights.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;
#[path = "common/gang.rs"]
mod gang;

use std::thread;

use common::{model, request};
use croft_engine::{
    card::card,
    error::{Class, Error},
    parallel::{Group, Mode, Split},
    pipelines::{Clip, Halfway, Held, Pipeline},
    progress::Observer,
    request::{Params, Request, Value},
    residency::Residency,
};
use gang::tcp;

/// Keeps the last block's stream and the latents of each step.
#[derive(Default)]
struct Tape {
    streams: Vec<Vec<f32>>,
    latents: Vec<Vec<f32>>,
}

impl Observer for Tape {
    fn looks_at_blocks(&self) -> bool {
        true
    }

    fn block(&mut self, _block: usize, stream: &[f32]) {
        self.streams.push(stream.to_vec());
    }

    fn latents(&mut self, _step: u32, latents: &[f32]) {
        self.latents.push(latents.to_vec());
    }
}

struct Seen {
    clip: Clip,
    tape: Tape,
    held: Held,
}

/// Renders with one thread a rank; rank 0 may take it up halfway.
fn render(model: &str, request: &Request, groups: Vec<Group>, halfway: Option<Halfway>) -> Vec<Seen> {
    let ranks = groups.into_iter().map(|mut group| {
        let (model, request) = (model.to_owned(), request.clone());
        let halfway = halfway.clone().filter(|_| group.rank() == 0);
        thread::spawn(move || {
            let card = card(&model).unwrap();
            let pipeline = Pipeline::load_split(&model, card, group.split(), Residency::Resident).unwrap();
            let mut tape = Tape::default();
            let clip = pipeline.render_in(&request, halfway, &mut group, &mut tape).unwrap();
            Seen { clip, tape, held: pipeline.held() }
        })
    });
    let running: Vec<_> = ranks.collect();
    running.into_iter().map(|rank| rank.join().unwrap()).collect()
}

fn builtin() -> (String, Request) {
    let model = "builtin://shapes".to_owned();
    let params = Params::from([("steps".to_owned(), Value::Number(6.0))]);
    let prompt = "a red circle moving right on a gray background";
    let request = Request::from_params(&card(&model).unwrap(), prompt, "", 7, &params).unwrap();
    (model, request)
}

/// Models, and the numbers of ranks that they are split over; the built-in model has three heads.
fn cases() -> [(String, Request, [usize; 2]); 3] {
    let (shapes, of_shapes) = builtin();
    [
        (model("ltx"), request("ltx"), [2, 4]),
        (model("ltx095"), request("ltx095"), [2, 4]),
        (shapes, of_shapes, [2, 3]),
    ]
}

/// Numbers of what ranks share.
fn shared(held: Held) -> usize {
    held.text + held.blocks
}

/// The largest difference as a share of the largest value.
fn difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len(), "as many values");
    let largest = theirs.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    ours.iter().zip(theirs).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

/// The largest difference of two clips, of 255.
fn shades(ours: &Clip, theirs: &Clip) -> f32 {
    assert_eq!(ours.frames.len(), theirs.frames.len());
    let values = ours.frames.iter().flatten().zip(theirs.frames.iter().flatten());
    values.fold(0.0_f32, |most, (a, b)| most.max((a - b).abs())) * 255.0
}

#[test]
fn several_ranks_render_what_one_renders() {
    for (model, request, degrees) in cases() {
        let one = render(&model, &request, vec![Group::solo()], None).remove(0);
        for ranks in degrees {
            let threads = render(&model, &request, Group::threads(ranks), None);
            let wired = render(&model, &request, tcp(ranks), None);
            let mut off = [0.0_f32; 2];
            for (at, theirs) in
                [&one.tape.streams[0], one.tape.latents.last().unwrap()].into_iter().enumerate()
            {
                let ours = [&threads[0].tape.streams[0], threads[0].tape.latents.last().unwrap()][at];
                off[at] = difference(ours, theirs);
            }
            let shades = shades(&threads[0].clip, &one.clip);
            println!(
                "{model}: {ranks} ranks, first block {:.1e}, latents {:.1e}, frames {shades:.3}/255",
                off[0], off[1]
            );
            assert!(off[0] <= 1e-5 && off[1] <= 1e-5, "{off:?}");
            assert!(shades <= 1.0, "{shades}");
            assert_eq!(threads[0].clip.frames, wired[0].clip.frames, "any wire gives the same bytes");
            for seen in threads.iter().chain(&wired) {
                assert!(seen.tape.latents == threads[0].tape.latents, "all ranks hold the same latents");
            }
            assert!(threads[1..].iter().all(|seen| seen.clip.frames.is_empty()), "one rank decodes");
        }
    }
}

/// Layer by layer or branch by branch nothing but the encoding of the text is summed across ranks.
#[test]
fn ranks_with_some_of_the_layers_or_branches_render_what_one_renders() {
    for (model, request, _) in cases() {
        let one = render(&model, &request, vec![Group::solo()], None).remove(0);
        let layers = [2, 3].map(|ranks| (Mode::Layers, ranks)).into_iter();
        for (mode, ranks) in layers.chain([(Mode::Guidance, 2)]) {
            let by = |groups: Vec<Group>| groups.into_iter().map(|group| group.by(mode)).collect::<Vec<_>>();
            let threads = match mode {
                // The small goldens have two layers.
                Mode::Layers if Pipeline::load(&model).unwrap().layers() < ranks => continue,
                Mode::Layers | Mode::Guidance | Mode::Tensor => {
                    render(&model, &request, by(Group::threads(ranks)), None)
                }
            };
            let wired = render(&model, &request, by(tcp(ranks)), None);
            let off = difference(threads[0].tape.latents.last().unwrap(), one.tape.latents.last().unwrap());
            let shades = shades(&threads[0].clip, &one.clip);
            println!("{model}: {mode:?} over {ranks} ranks, latents {off:.1e}, frames {shades:.3}/255");
            assert!(off <= 1e-5 && shades <= 1.0);
            assert_eq!(threads[0].clip.frames, wired[0].clip.frames, "any wire gives the same bytes");
            for seen in threads.iter().chain(&wired) {
                assert!(seen.tape.latents == threads[0].tape.latents, "all ranks hold the same latents");
            }
            if mode == Mode::Layers {
                let most = threads.iter().map(|seen| shared(seen.held)).max().unwrap();
                println!("  {most} of {} numbers on the rank that has most", shared(one.held));
                assert!(most < shared(one.held) * 2 / 3);
            }
        }
    }
}

#[test]
fn ranks_of_uneven_devices_render_the_same() {
    for (model, request) in [(model("ltx"), request("ltx")), builtin()] {
        let one = render(&model, &request, vec![Group::solo()], None).remove(0);
        let groups = Group::threads(2).into_iter().map(|group| group.with_shares(vec![3, 1]));
        let uneven = render(&model, &request, groups.collect(), None);
        let held = [0, 1].map(|rank: usize| shared(uneven[rank].held));
        assert!(held[0] > 2 * held[1], "{held:?}");
        assert!(shades(&uneven[0].clip, &one.clip) <= 1.0);
    }
}

#[test]
fn a_rank_holds_its_share_of_what_is_split_and_no_more() {
    for (model, request, degrees) in cases() {
        let one = render(&model, &request, vec![Group::solo()], None).remove(0).held;
        // Two ranks take one and two of three heads, which are no halves.
        for ranks in degrees.into_iter().filter(|ranks| !(model.starts_with("builtin") && *ranks == 2)) {
            for seen in render(&model, &request, Group::threads(ranks), None) {
                assert_eq!(seen.held.rest, one.rest, "every rank has what is not split");
                // Norms and biases that are added once are whole on each.
                let (one, held) = (shared(one), shared(seen.held));
                let most = one / ranks + one / 10;
                println!("{model}: {ranks} ranks, {held} of {one} numbers");
                assert!(held <= most, "{ranks} ranks: {held} of {one}");
            }
        }
    }
}

#[test]
fn a_split_beyond_the_heads_is_refused_with_those_that_can_be() {
    let model = model("ltx");
    let card = card(&model).unwrap();
    let error = Pipeline::load_split(&model, card, &Split::equal(0, 64), Residency::Resident).unwrap_err();
    let Error::Unsupported { what, remedy } = error else { panic!("{error}") };
    assert!(what.contains("over 64 ranks") && remedy.contains("can be split over 1 to"), "{what}; {remedy}");
}

/// Taken up after any step, by as many ranks or others, a render gives the bytes of one that was not disturbed.
#[test]
fn a_render_that_is_taken_up_halfway_gives_the_same_bytes() {
    for (model, request) in [(model("ltx095"), request("ltx095")), builtin()] {
        for ranks in [1, 2] {
            let groups = || if ranks == 1 { vec![Group::solo()] } else { Group::threads(ranks) };
            let whole = render(&model, &request, groups(), None).remove(0);
            for (at, latents) in whole.tape.latents.iter().enumerate() {
                let halfway = Halfway { step: at as u32 + 1, latents: latents.clone() };
                let resumed = render(&model, &request, groups(), Some(halfway)).remove(0);
                assert_eq!(resumed.tape.latents.len(), whole.tape.latents.len() - at - 1);
                assert!(resumed.clip.frames == whole.clip.frames, "after step {}", at + 1);
            }
        }
    }
}

/// Ends its thread's render after a step.
struct Dies;

impl Observer for Dies {
    fn latents(&mut self, step: u32, _latents: &[f32]) {
        assert!(step < 2, "as planned");
    }
}

#[test]
fn a_rank_that_dies_frees_the_others_with_its_number() {
    let (model, request) = builtin();
    for groups in [Group::threads(3), tcp(3)] {
        let running: Vec<_> = groups
            .into_iter()
            .map(|mut group| {
                let (model, request) = (model.clone(), request.clone());
                thread::spawn(move || {
                    let card = card(&model).unwrap();
                    let pipeline =
                        Pipeline::load_split(&model, card, group.split(), Residency::Resident).unwrap();
                    let mut dies = Dies;
                    let observer: &mut dyn Observer = if group.rank() == 1 { &mut dies } else { &mut () };
                    pipeline.render_in(&request, None, &mut group, observer)
                })
            })
            .collect();
        let ends: Vec<_> = running.into_iter().map(thread::JoinHandle::join).collect();
        assert!(ends[1].is_err(), "it panicked");
        let mut named = false;
        for end in [&ends[0], &ends[2]] {
            let error = end.as_ref().unwrap().as_ref().unwrap_err();
            assert_eq!(error.class(), Class::Gang, "{error}");
            named |= error.to_string().contains("rank 1 is gone");
        }
        assert!(named);
    }
}
