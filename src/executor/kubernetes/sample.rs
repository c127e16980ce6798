//! A sample Job for testing a namespace.

use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;

use super::manifest::{Described, describe};
use super::settings::KubernetesSettings;
use crate::digest::Sha256;
use crate::executor::{Limits, Toolchain};

/// Returns a Job for testing the namespace; the Job is never created.
pub(super) fn sample(settings: &KubernetesSettings, executor: &str) -> Job {
    let job = crate::executor::Job {
        name: "sample".to_owned(),
        run_id: "sample".to_owned(),
        toolchain: Toolchain::Host {
            identity: Sha256::of("sample"),
        },
        script: String::new(),
        mounts: Vec::new(),
        environment: Vec::new(),
        network: crate::executor::Network::None,
        kvm: false,
        limits: Limits {
            timeout: Duration::from_secs(1),
            memory_bytes: 1 << 20,
            output_bytes: 2 << 30,
            output_files: 200_000,
            processes: 1,
        },
        output: PathBuf::new(),
    };
    describe(&Described {
        settings,
        name: &format!("dkm-{executor}-sample"),
        job: &job,
        image: "sample".to_owned(),
        command: Vec::new(),
        trees: &[],
        must_pull: false,
        result_url: "",
        token: "",
        authority: None,
        executor,
        epoch: 0,
        owner: "",
        store: "sample",
    })
}
