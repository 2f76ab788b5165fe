//! Keeper and look together, on real files and without a daemon.

use std::{fs, path::Path, sync::Arc, time::Duration};

use portolan_core::{
    health::overlay::{Override, OverrideKind, Scope},
    model::{
        ids::Label,
        time::{Now, Tick, Timestamp},
    },
    node::{Event, Node, Settings, report::PastError},
    table::World,
};
use tokio::sync::{mpsc, oneshot};

use super::{
    super::{
        Clock, Listen, Setup,
        control::Command,
        store::{Origin, PlanSource},
        world::{bare_world, load_plan},
    },
    Limits,
    keeper::Keeper,
    look::{Looked, look},
    scribe::Told,
    segment, shelf,
};

const PLAN: &str = include_str!("fuzz-plan.yaml");

/// 2027-01-15T08:00:00Z.
const START: Timestamp = Timestamp(1_800_000_000_000);

/// After which the first table is made without any probe.
const FIRST_TABLE: Duration = Duration::from_secs(20);

/// A node that nobody probes, and the keeper of its history.
struct Scene {
    directory: tempfile::TempDir,
    keeper: Keeper,
    commands: mpsc::Receiver<Command>,
    node: Node,
    now: Now,
    origin: Arc<Origin>,
}

fn world() -> Arc<World> {
    let source = PlanSource { text: PLAN.to_owned(), ..PlanSource::default() };
    bare_world(load_plan("plan.yaml", &source, &[]).unwrap().topology).unwrap()
}

fn origin(geo: &str) -> Arc<Origin> {
    Arc::new(Origin { source: PlanSource { text: PLAN.to_owned(), ..PlanSource::default() }, geo: geo.to_owned() })
}

fn node(now: Now) -> Node {
    let settings = Settings { node: Label::new("use1-a"), region: Label::new("us"), stale_limit: Duration::MAX, seed: 1 };
    let mut node = Node::new(settings, world(), "0".repeat(64), None, now);
    node.advance(now.after(FIRST_TABLE), 0, &mut Vec::new());
    node
}

fn keeper(directory: &Path, limits: Limits) -> (Keeper, mpsc::Receiver<Command>) {
    let (sender, commands) = mpsc::channel(16);
    (Keeper::new(directory.join("history"), limits, Arc::new(Clock::start()), sender), commands)
}

impl Scene {
    fn new(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (keeper, commands) = keeper(directory.path(), limits);
        let now = Now { tick: Tick(1), wall: START };
        Self { keeper, commands, node: node(now), now: now.after(FIRST_TABLE), origin: origin(""), directory }
    }

    fn folder(&self) -> std::path::PathBuf {
        self.directory.path().join("history")
    }

    fn files(&self) -> Vec<String> {
        let name = |volume: shelf::Volume| volume.path.file_name().unwrap().to_str().unwrap().to_owned();
        shelf::list(&self.folder()).unwrap().into_iter().map(name).collect()
    }

    /// A drain of region eu with this reason, a second later, noted.
    fn drain(&mut self, why: &str) -> Timestamp {
        self.now = self.now.after(Duration::from_secs(1));
        let order = Override {
            id: Label::new("d1"),
            kind: OverrideKind::Drain,
            scope: Scope::Region(Label::new("eu")),
            who: "ana".to_owned(),
            why: why.to_owned(),
            at: self.now.wall,
            until: None,
        };
        self.node.handle(self.now, Event::OverridesChanged(vec![order]), &mut Vec::new()).unwrap();
        self.node.advance(self.now, 0, &mut Vec::new());
        self.note();
        self.now.wall
    }

    fn note(&mut self) {
        let told = Told::Page { node: Arc::new(self.node.clone()), now: self.now, origin: self.origin.clone() };
        self.keeper.take(told);
    }

    /// Time passes; the node lives.
    fn pass(&mut self, minutes: u64) {
        for _ in 0..minutes {
            self.now = self.now.after(Duration::from_secs(60));
            self.keeper.take(Told::Mark(self.now));
        }
    }

    /// Another process on the same folder, which knows what the former one left and has its own ticks.
    fn restart(&mut self, limits: Limits, later: Duration) {
        self.keeper.take(Told::End(self.now, oneshot::channel().0));
        (self.keeper, self.commands) = keeper(self.directory.path(), limits);
        let begun = Now { tick: Tick(1), wall: self.now.wall + later };
        (self.node, self.now) = (node(begun), begun.after(FIRST_TABLE));
    }

    fn look(&self, at: Timestamp) -> Result<Looked, PastError> {
        let setup = Setup {
            node: "use1-a".to_owned(),
            region: "us".to_owned(),
            data_dir: None,
            plan: "plan.yaml".into(),
            listen: Listen::default(),
            auth: Default::default(),
            tls: None,
            geo_database: None,
            secrets_dir: None,
            hooks_dir: None,
            latency_table: None,
            stale_limit: Duration::MAX,
            allowed_targets: Vec::new(),
            cluster: None,
        };
        look(&self.folder(), at, self.now.wall, &setup, None)
    }

    fn why(&self, at: Timestamp) -> String {
        self.look(at).unwrap().recalled.why("eu").unwrap().reason.render()
    }

    fn notes(&self, at: Timestamp) -> Vec<String> {
        self.look(at).unwrap().moment(true).notes
    }

    /// The notices that people were told: text, or that it is over.
    fn notices(&mut self) -> Vec<Option<String>> {
        let mut notices = Vec::new();
        while let Ok(command) = self.commands.try_recv() {
            let Command::Event(Event::Noted { kind: "history", notice }, _) = command else { panic!("another command") };
            notices.push(notice.map(|(_, text)| text));
        }
        notices
    }
}

#[test]
fn each_moment_is_told_as_it_was_and_a_restart_goes_on_in_the_same_file() {
    let mut scene = Scene::new(Limits::default());
    let first = scene.drain("first");
    let second = scene.drain("second");
    scene.pass(3);
    assert!(scene.why(first).contains("by ana: first") && scene.why(second).contains("by ana: second"));
    assert_eq!(scene.notes(second), [""; 0]);
    let between = Timestamp(second.0 + 90_000);
    let looked = scene.look(between).unwrap();
    assert_eq!((looked.recalled.at(), looked.moment(false).asked), (second, between), "the newest moment before");

    let stopped = scene.now.wall;
    scene.restart(Limits::default(), Duration::from_secs(600));
    let third = scene.drain("third");
    assert_eq!(scene.files().len(), 1, "the same plan needs no other first page");
    for (at, why) in [(first, "first"), (second, "second"), (third, "third")] {
        assert!(scene.why(at).contains(why), "{}", scene.why(at));
    }
    let told = scene.notes(Timestamp(stopped.0 + 300_000));
    assert_eq!(told, [format!("the node was stopped at {stopped} and did not run until {third}: this is what it said last")]);
    assert_eq!(scene.look(Timestamp(START.0 - 1)).map(drop), Err(PastError::Before { at: Timestamp(START.0 - 1), oldest: Some(first) }));
    assert_eq!(scene.notices(), []);
}

#[test]
fn a_node_that_was_killed_leaves_a_hole_that_is_told_and_a_torn_end_that_is_cut() {
    let mut scene = Scene::new(Limits::default());
    let first = scene.drain("first");
    let path = scene.folder().join(&scene.files()[0]);
    let whole = fs::metadata(&path).unwrap().len();
    let second = scene.drain("second");
    // The last page did not reach the disk whole, and there was no stop.
    let torn = fs::metadata(&path).unwrap().len() - 7;
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(torn).unwrap();
    assert!(scene.why(second).contains("first"), "what is whole counts");
    (scene.keeper, scene.commands) = keeper(scene.directory.path(), Limits::default());
    scene.now = scene.now.after(Duration::from_secs(3600));
    let third = scene.drain("third");
    assert!(scene.why(first).contains("first") && scene.why(third).contains("third"));
    assert_eq!((scene.files().len(), segment::read(&fs::read(&path).unwrap()).fault), (1, None));
    assert!(fs::metadata(&path).unwrap().len() > whole);
    let told = scene.notes(Timestamp(second.0 + 600_000));
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with(&format!("nothing was noted from {first} to {third} (1h2s): the node did not run")), "{told:?}");
}

#[test]
fn what_is_damaged_in_the_middle_is_given_up_from_there_with_a_word() {
    let mut scene = Scene::new(Limits::default());
    let first = scene.drain("first");
    let path = scene.folder().join(&scene.files()[0]);
    let good = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
    let second = scene.drain("second");
    let third = scene.drain("third");
    let mut octets = fs::read(&path).unwrap();
    octets[good + 20] ^= 1;
    fs::write(&path, octets).unwrap();
    assert!(scene.why(third).contains("first"));
    assert!(scene.notes(second)[0].contains("damaged"), "{:?}", scene.notes(second));
    // Another run does not write behind what cannot be read.
    scene.restart(Limits::default(), Duration::from_secs(1));
    let fourth = scene.drain("fourth");
    assert_eq!(scene.files().len(), 2);
    assert!(scene.why(first).contains("first") && scene.why(fourth).contains("fourth"));
    // Nothing can be read at all: that is said, and an older file does not stand in for it in silence.
    fs::write(&path, b"\0\0\0\0 of another house").unwrap();
    assert!(matches!(scene.look(second), Err(PastError::Unreadable { .. })));
}

#[test]
fn the_oldest_goes_when_there_is_no_room_and_when_it_is_too_old() {
    // A file for each page: what happened so far is in each, so they grow.
    let octets = 100_000;
    let limits = Limits { octets, segment_age: Duration::from_secs(1), ..Limits::default() };
    let mut scene = Scene::new(limits);
    let first = scene.drain("first");
    let mut last = first;
    for number in 0..40 {
        last = scene.drain(&format!("number {number}"));
        let kept: u64 = shelf::list(&scene.folder()).unwrap().iter().map(|volume| volume.octets).sum();
        assert!(kept <= octets, "{kept} octets");
    }
    assert!(scene.files().len() > 2 && scene.why(last).contains("number 39"));
    let Err(PastError::Before { oldest: Some(oldest), .. }) = scene.look(first) else { panic!("it went") };
    assert!(oldest > first && scene.why(oldest).contains("number"), "{oldest}");

    let mut scene = Scene::new(Limits { segment_age: Duration::from_secs(60), age: Duration::from_secs(600), ..Limits::default() });
    let first = scene.drain("first");
    scene.pass(2);
    let second = scene.drain("second");
    assert!(scene.why(first).contains("first") && scene.files().len() == 2);
    scene.pass(11);
    let third = scene.drain("third");
    assert!(scene.look(first).is_err() && scene.why(second).contains("second") && scene.why(third).contains("third"));
}

#[test]
fn a_disk_that_takes_nothing_is_told_once_and_what_was_missed_comes_with_the_next_page() {
    let mut scene = Scene::new(Limits::default());
    // A file in the place of the folder.
    fs::write(scene.folder(), "").unwrap();
    scene.drain("first");
    scene.drain("second");
    let told = scene.notices();
    assert!(told.len() == 1 && told[0].as_ref().unwrap().contains("moments are missing in the history"), "{told:?}");
    assert!(scene.look(scene.now.wall).is_err());
    fs::remove_file(scene.folder()).unwrap();
    scene.now = scene.now.after(Duration::from_secs(1));
    scene.note();
    assert_eq!(scene.notices(), [None], "it is over");
    assert!(scene.why(scene.now.wall).contains("second"));
}

#[test]
fn another_world_or_other_geo_files_begin_another_file_and_are_told() {
    let mut scene = Scene::new(Limits::default());
    let first = scene.drain("first");
    scene.origin = origin("other");
    scene.restart(Limits::default(), Duration::from_secs(1));
    let second = scene.drain("second");
    assert_eq!(scene.files().len(), 2);
    assert_eq!(scene.notes(first).len(), 0, "today's files are those of then");
    let told = scene.notes(second);
    assert!(told.len() == 1 && told[0].contains("today's geo files"), "{told:?}");
    assert!(scene.look(second).unwrap().moment(false).notes.is_empty(), "reasons do not depend on places");
}

/// The clock is set back: the later written page counts.
#[test]
fn a_clock_that_was_set_back_hides_nothing() {
    let mut scene = Scene::new(Limits::default());
    scene.drain("first");
    let second = scene.drain("second");
    assert_eq!(scene.files().len(), 1);
    scene.now.wall = Timestamp(second.0 - 3_600_000);
    let third = scene.drain("third");
    assert!(third < second && scene.why(third).contains("third"));
    assert!(scene.why(second).contains("third"), "of that minute both are told, and the later counts");
}

/// The kept inputs of the fuzzer are of the form that is written: `UPDATE_EXPECT=1` writes them anew.
#[test]
fn the_kept_inputs_are_of_this_form() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/history");
    let mut scene = Scene::new(Limits::default());
    scene.drain("first");
    scene.pass(1);
    scene.drain("second");
    let octets = fs::read(scene.folder().join(&scene.files()[0])).unwrap();
    let mut lines = Vec::new();
    let mut rest = &octets[..];
    while let Some(Ok((payload, after))) = super::frame::next(rest) {
        lines.extend([payload, b"\n"].concat());
        rest = after;
    }
    for (name, wanted) in [("segment", octets), ("lines", lines)] {
        let path = corpus.join(name);
        if is_update() {
            fs::create_dir_all(&corpus).unwrap();
            fs::write(&path, &wanted).unwrap();
        }
        assert!(fs::read(&path).unwrap() == wanted, "{} is of another form: run with UPDATE_EXPECT=1", path.display());
        segment::fuzz_history(&wanted);
    }
}

#[expect(clippy::disallowed_methods, reason = "how expected files are written anew")]
fn is_update() -> bool {
    std::env::var("UPDATE_EXPECT").is_ok()
}
