use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::diagnostic::SourceFile;
use crate::discover::expand_inline;
use crate::driver::Artifact;
use crate::kernel::{Architecture, Kernel};
use crate::matrix::{self, Matrix};

type EntryKernels = Vec<(Arc<Kernel>, Range<usize>)>;

fn read(name: &str, text: &str) -> Matrix {
    let file = SourceFile {
        path: name.into(),
        text: text.to_owned(),
    };
    matrix::read(Arc::new(file)).unwrap_or_else(|errors| panic!("{text}\n{errors:?}"))
}

fn inline_kernels(matrix: &Matrix) -> Vec<EntryKernels> {
    matrix
        .targets
        .iter()
        .map(|entry| {
            let inline = &entry.kernels.get_ref().inline;
            expand_inline(matrix, entry, inline).unwrap().kernels
        })
        .collect()
}

fn expand_all(matrices: &[Matrix]) -> Result<Expanded, Vec<crate::diagnostic::Diagnostic>> {
    let expansions: Vec<Expansion<'_>> = matrices
        .iter()
        .map(|matrix| Expansion {
            matrix,
            kernels: inline_kernels(matrix),
            left_out: Vec::new(),
            found_at: None,
        })
        .collect();
    expand(expansions, None)
}

/// A matrix file as a value, small enough for a naive expansion in the test.
#[derive(Clone, Debug)]
struct Sketch {
    drivers: BTreeSet<&'static str>,
    architectures: BTreeSet<&'static str>,
    artifacts: BTreeSet<&'static str>,
    /// Target and release.
    kernels: BTreeSet<(&'static str, &'static str)>,
    /// Target, kernel, driver and artifact; an empty string matches everything.
    excludes: Vec<[&'static str; 4]>,
}

impl Sketch {
    fn text(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!(
            "drivers = {:?}\narchitectures = {:?}\nartifacts = {:?}\n",
            Vec::from_iter(&self.drivers),
            Vec::from_iter(&self.architectures),
            Vec::from_iter(&self.artifacts),
        );
        for (target, release) in &self.kernels {
            writeln!(
                text,
                "[[target]]\nname = {target:?}\nkernels = [{{ release = {release:?} }}]"
            )
            .unwrap();
        }
        for exclude in &self.excludes {
            text += "[[exclude]]\nreason = \"test\"\n";
            for (key, pattern) in ["target", "kernel", "driver", "artifact"]
                .iter()
                .zip(exclude)
            {
                if !pattern.is_empty() {
                    writeln!(text, "{key} = {pattern:?}").unwrap();
                }
            }
        }
        text
    }

    /// The naive product: every combination that is not left out.
    fn wanted(&self) -> BTreeMap<String, BTreeSet<Artifact>> {
        let mut wanted: BTreeMap<String, BTreeSet<Artifact>> = BTreeMap::new();
        for (target, release) in &self.kernels {
            for architecture in &self.architectures {
                for driver in &self.drivers {
                    for artifact in &self.artifacts {
                        let parts = [*target, *release, *driver, *artifact];
                        let is_excluded = self.excludes.iter().any(|exclude| {
                            exclude
                                .iter()
                                .zip(parts)
                                .all(|(pattern, part)| matches(pattern, part))
                        });
                        if is_excluded || is_below_floor(release, architecture, driver, artifact) {
                            continue;
                        }
                        let machine = if *architecture == "amd64" {
                            "x86_64"
                        } else {
                            "aarch64"
                        };
                        let id = format!("{driver}/{machine}/{target}_{release}_1");
                        wanted
                            .entry(id)
                            .or_default()
                            .insert(artifact.parse().unwrap());
                    }
                }
            }
        }
        wanted
    }
}

/// Matches the patterns of [`sketch`] without the pattern code.
fn matches(pattern: &str, part: &str) -> bool {
    match pattern {
        "" => true,
        "5.*" => part.starts_with("5."),
        ">=10" => part.starts_with("10."),
        exact => exact == part,
    }
}

/// The floors that apply to the kernels and drivers of [`sketch`], written out.
fn is_below_floor(release: &str, architecture: &str, driver: &str, artifact: &str) -> bool {
    match (artifact, release) {
        ("module", "3.10.0-1") => architecture == "arm64",
        ("probe", "3.10.0-1") => true,
        ("probe", "4.15.0-1") if architecture == "arm64" => true,
        ("probe", _) => driver.starts_with("10."),
        _ => false,
    }
}

fn subset(
    all: &'static [&'static str],
    least: usize,
) -> impl Strategy<Value = BTreeSet<&'static str>> {
    proptest::sample::subsequence(all.to_vec(), least..=all.len())
        .prop_map(|chosen| chosen.into_iter().collect())
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let kernel = (
        proptest::sample::select(vec!["generic", "vanilla"]),
        proptest::sample::select(vec![
            "3.10.0-1", "4.15.0-1", "5.4.0-1", "5.10.2-1", "6.1.0-1",
        ]),
    );
    let exclude = (
        proptest::sample::select(vec!["", "generic", "vanilla"]),
        proptest::sample::select(vec!["", "5.*", "6.1.0-1"]),
        proptest::sample::select(vec!["", ">=10", "master"]),
        proptest::sample::select(vec!["", "probe"]),
    )
        .prop_map(|(target, kernel, driver, artifact)| [target, kernel, driver, artifact])
        .prop_filter("an exclude names something", |exclude| {
            exclude.iter().any(|part| !part.is_empty())
        });
    (
        subset(
            &["8.1.0+driver", "9.1.0+driver", "10.0.0+driver", "master"],
            1,
        ),
        subset(&["amd64", "arm64"], 1),
        subset(&["module", "probe"], 1),
        proptest::collection::btree_set(kernel, 1..6),
        proptest::collection::vec(exclude, 0..3),
    )
        .prop_map(
            |(drivers, architectures, artifacts, kernels, excludes)| Sketch {
                drivers,
                architectures,
                artifacts,
                kernels,
                excludes,
            },
        )
}

proptest! {
    /// Several matrices expand to the union of their naive products, sorted and without duplicates.
    #[test]
    fn expansion_is_the_product_as_a_set(sketches in proptest::collection::vec(sketch(), 1..4)) {
        let matrices: Vec<Matrix> = sketches
            .iter()
            .enumerate()
            .map(|(index, sketch)| read(&format!("{index}.toml"), &sketch.text()))
            .collect();
        let plan = expand_all(&matrices).unwrap().plan;
        let mut wanted: BTreeMap<String, BTreeSet<Artifact>> = BTreeMap::new();
        let mut total = 0;
        for one in sketches.iter().map(Sketch::wanted) {
            total += one.len();
            for (id, artifacts) in one {
                wanted.entry(id).or_default().extend(artifacts);
            }
        }
        let planned: BTreeMap<String, BTreeSet<Artifact>> = plan
            .builds
            .iter()
            .map(|build| (build.id().to_string(), build.artifacts.iter().copied().collect()))
            .collect();
        prop_assert_eq!(planned.len(), plan.builds.len(), "the plan contains a duplicate build");
        prop_assert_eq!(plan.duplicates, total - wanted.len());
        prop_assert_eq!(planned, wanted);
        let is_sorted = plan.builds.is_sorted_by(|left, right| {
            (left.kernel.identity(), &left.driver.version) < (right.kernel.identity(), &right.driver.version)
        });
        prop_assert!(is_sorted, "not sorted");
    }

    /// Every build is in exactly one shard, and adding builds does not change its shard.
    #[test]
    fn shards_partition_the_plan_and_are_stable(few in sketch(), more in sketch(), count in 1_u32..6) {
        let shards = |matrices: &[Matrix]| -> Option<BTreeMap<String, u32>> {
            let plan = expand_all(matrices).unwrap().plan;
            let mut places = BTreeMap::new();
            for index in 1..=count {
                let mut part = plan.clone();
                let shard = format!("{index}/{count}").parse().unwrap();
                let filter = Filter { shard: Some(shard), ..Filter::default() };
                filter.apply(&mut part).unwrap();
                for build in &part.builds {
                    if places.insert(build.id().to_string(), index).is_some() {
                        return None;
                    }
                }
            }
            (places.len() == plan.builds.len()).then_some(places)
        };
        let few = read("few.toml", &few.text());
        let before = shards(std::slice::from_ref(&few));
        prop_assert!(before.is_some(), "not a partition");
        let after = shards(&[few, read("more.toml", &more.text())]);
        prop_assert!(after.is_some(), "not a partition");
        let after = after.unwrap();
        for (id, shard) in before.unwrap() {
            prop_assert_eq!(after.get(&id), Some(&shard));
        }
    }
}

const TWO_KERNELS: &str = r#"
drivers = ["8.1.0+driver", "9.0.0+driver"]
artifacts = ["module", "probe"]

[defaults]
timeout = "5m"
retries = 5

[[target]]
name = "generic"
memory = "3GiB"
kernels = [{ release = "5.4.0-1" }, { release = "6.1.0-1" }]
"#;

#[test]
fn settings_come_from_defaults_target_and_overrides() {
    let rules = r#"
[[override]]
kernel = ">=6"
gcc = "12"
retries = 1

[[override]]
kernel = "6.*"
driver = "9.*"
gcc = "13"
"#;
    let matrix = read("a.toml", &(TWO_KERNELS.to_owned() + rules));
    let plan = expand_all(&[matrix]).unwrap().plan;
    let settings: Vec<_> = plan
        .builds
        .iter()
        .map(|build| {
            let settings = &build.settings;
            assert_eq!(settings.timeout.as_secs(), 300);
            assert_eq!(settings.memory_bytes, 3 << 30);
            (
                build.id().to_string(),
                settings.gcc.clone(),
                settings.retries,
            )
        })
        .collect();
    let expected = [
        ("8.1.0+driver/x86_64/generic_5.4.0-1_1", None, 5),
        ("9.0.0+driver/x86_64/generic_5.4.0-1_1", None, 5),
        ("8.1.0+driver/x86_64/generic_6.1.0-1_1", Some("12"), 1),
        ("9.0.0+driver/x86_64/generic_6.1.0-1_1", Some("13"), 1),
    ]
    .map(|(id, gcc, retries)| (id.to_owned(), gcc.map(str::to_owned), retries));
    assert_eq!(settings, expected);
    assert!(Arc::ptr_eq(
        &plan.builds[0].settings,
        &plan.builds[1].settings
    ));
}

#[test]
fn rules_that_match_nothing_are_warned_about() {
    let rules = r#"
[[exclude]]
kernel = "7.*"

[[exclude]]
driver = "9.*"
artifact = "probe"

[[override]]
driver = "10.*"
gcc = "12"
"#;
    let matrix = read("a.toml", &(TWO_KERNELS.to_owned() + rules));
    let warnings = expand_all(&[matrix]).unwrap().warnings;
    let lines: Vec<_> = warnings
        .iter()
        .filter_map(|warning| Some((warning.message(), warning.place()?.line_and_column().0)))
        .collect();
    assert_eq!(
        lines,
        [
            ("this [[exclude]] matches nothing", 14),
            ("this [[override]] matches nothing", 21)
        ]
    );
}

#[test]
fn unrequested_architecture_is_left_out() {
    let matrix = read(
        "a.toml",
        r#"
drivers = ["8.1.0+driver"]
[[target]]
name = "generic"
kernels = [{ release = "5.4.0-1", architecture = "arm64" }, { release = "5.4.0-1" }]
"#,
    );
    let plan = expand_all(&[matrix]).unwrap().plan;
    assert_eq!(plan.builds.len(), 1);
    assert_eq!(plan.builds[0].kernel.architecture, Architecture::Amd64);
    assert_eq!(plan.left_out.len(), 1);
    assert_eq!(&*plan.left_out[0].rule, "architecture");
    assert_eq!(
        &*plan.left_out[0].reason,
        "the matrix does not request arm64"
    );
}

#[test]
fn only_selects_builds_by_id_and_suggests_a_similar_id() {
    let matrix = read("a.toml", TWO_KERNELS);
    let plan = expand_all(&[matrix]).unwrap().plan;
    let mut one = plan.clone();
    let filter = |id: &str| Filter {
        only: vec![id.to_owned()],
        ..Filter::default()
    };
    filter("9.0.0+driver/x86_64/generic_6.1.0-1_1")
        .apply(&mut one)
        .unwrap();
    assert_eq!(one.builds.len(), 1);
    let error = filter("9.0.0+driver/x86_64/generic_6.1.0-2_1").apply(&mut plan.clone());
    assert_eq!(
        error,
        Err(FilterError::NoBuild {
            id: "9.0.0+driver/x86_64/generic_6.1.0-2_1".to_owned(),
            nearest: Some("9.0.0+driver/x86_64/generic_6.1.0-1_1".to_owned()),
        })
    );
}

#[test]
fn unique_part_of_an_id_selects_its_build() {
    let matrix = read("a.toml", TWO_KERNELS);
    let plan = expand_all(&[matrix]).unwrap().plan;
    let ids: Vec<String> = plan
        .builds
        .iter()
        .map(|build| build.id().to_string())
        .collect();
    let find = |name: &str| find_name(name, || ids.iter().map(String::as_str));
    for (at, id) in ids.iter().enumerate() {
        assert_eq!(find(id), Ok(at));
        let part = &id[id.find('/').unwrap() - 4..];
        let is_unique = ids.iter().filter(|id| id.contains(part)).count() == 1;
        assert_eq!(find(part).ok(), is_unique.then_some(at));
        let mut one = plan.clone();
        let filter = Filter {
            only: vec![id.clone()],
            takes_parts: true,
            ..Filter::default()
        };
        filter.apply(&mut one).unwrap();
        assert_eq!(one.builds, plan.builds[at..=at]);
    }
    let several = find("x86_64");
    assert!(
        matches!(several, Err(FilterError::Several { .. })),
        "{several:?}"
    );
    assert!(matches!(find("gone"), Err(FilterError::NoBuild { .. })));
}

#[test]
fn invalid_shards_are_rejected() {
    for text in ["", "1", "0/2", "3/2", "1/0", "a/b", "1/2/3"] {
        assert!(text.parse::<Shard>().is_err(), "{text}");
    }
    assert_eq!("2/8".parse::<Shard>().unwrap().to_string(), "2/8");
}
