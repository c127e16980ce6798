//! Tests of the crate as a library: planning, running and reading a grid without the command line.

use std::sync::Arc;

use driverkit_matrix::engine::{Events, RetryClasses, SecondExecutor, Stop};
use driverkit_matrix::event::Reproduce;
use driverkit_matrix::executor::{Executor, FakeExecutor};
use driverkit_matrix::exit::ExitStatus;
use driverkit_matrix::failure::Status;
use driverkit_matrix::fetch::Fetcher;
use driverkit_matrix::kernel::Architecture;
use driverkit_matrix::plan::Filter;
use driverkit_matrix::recipe::Toolchains;
use driverkit_matrix::report::{ManifestReporter, read_manifest};
use driverkit_matrix::resolve::{Context, PlanRequest};
use driverkit_matrix::run::{Brings, History, OutFolder, Parts, RunSettings};
use driverkit_matrix::session::{Session, all_compilers, new_run_id};
use driverkit_matrix::store::Store;
use support::grid::Grid;

#[test]
fn a_grid_is_planned_run_and_read_through_the_library() {
    let grid = Grid::of_four();
    let context = Context::new(grid.path("cache"));
    let wanted = PlanRequest {
        files: &[grid.path("matrix.toml")],
        filter: Filter::default(),
        ..PlanRequest::default()
    };
    let planned = wanted.plan(&context).unwrap();
    assert_eq!(planned.plan.builds.len(), 4);

    let script = grid.path("fake.json");
    let executor = Arc::new(FakeExecutor::from_text(script.to_str().unwrap()).unwrap());
    let (sender, receiver) = std::sync::mpsc::channel();
    let run_id = new_run_id();
    let store = Arc::new(Store::open(&context.cache, &run_id).unwrap());
    let out = grid.path("library-out");
    let session = Session {
        context: &context,
        plan: &planned.plan,
        parts: Parts {
            run_id,
            host: Architecture::of_host(),
            fetcher: Fetcher::new(store.clone(), planned.fetch_settings()),
            store,
            toolchains: Toolchains::Host {
                identity: executor.toolchain().identity(),
                compilers: all_compilers(),
            },
            out: OutFolder::open(&out).unwrap(),
            events: Events::new(sender),
            stop: Arc::new(Stop::default()),
        },
        settings: RunSettings {
            jobs: 2,
            fail_fast: false,
            deadline: None,
            retry: RetryClasses::default(),
            history: History::default(),
            reproduce: Reproduce::Rebuild(Vec::new()),
            brings: Brings::All,
            annotations: None,
            only_built: false,
            prove: None,
            signer: None,
            double: None,
            second: SecondExecutor::default(),
        },
        receiver,
        reporters: vec![Box::new(ManifestReporter::create(&out).unwrap())],
        jobs_are_given: true,
        shard: None,
        is_partial: false,
        findings: None,
        shared: None,
        at_least: ExitStatus::Success,
        command: vec!["a program of its own".to_owned()],
        matrices: planned.matrices.clone(),
    };
    let result = session
        .carry_out(async |missing| {
            assert_eq!(missing, 4);
            Ok((executor as Arc<dyn Executor>, Vec::new()))
        })
        .unwrap();
    assert_eq!(result.exit_code(), 0);

    let manifest = read_manifest(&out).unwrap();
    assert_eq!(manifest.builds.len(), 4);
    let artifacts = manifest.builds.iter().flat_map(|build| &build.artifacts);
    for artifact in artifacts {
        assert_eq!(artifact.status, Status::Built);
        assert!(out.join(artifact.path.as_ref().unwrap()).is_file());
    }
    assert_eq!(manifest.run.command, ["a program of its own"]);
}
