//! The system calls of a sandbox: those that Docker allows without capabilities, minus some that no build needs.
//!
//! Output: a filter in a file, for bubblewrap. The filter is an allow list, so system calls of newer kernels stay out.
//! A call that is not on the list fails as on a kernel without it, and every C library has a fallback for that.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::super::ExecutorError;

/// The flags of `clone` that create namespaces.
const NEW_NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u64;

/// The socket families that programs use, including a resolver that finds no network.
const SOCKET_FAMILIES: [i32; 4] = [
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
];

/// The allowed values of `personality`: native and 32-bit, each with or without the old kernel version numbering, and
/// the query of the current value.
const PERSONALITIES: [u64; 5] = [0, 0x0008, 0x0002_0000, 0x0002_0008, 0xffff_ffff];

/// Returns the path of a file with the filter, which other processes can open. The file exists as long as this process.
pub(super) fn file() -> Result<PathBuf, ExecutorError> {
    static FILE: OnceLock<File> = OnceLock::new();
    let file = if let Some(file) = FILE.get() {
        file
    } else {
        let written = write()?;
        FILE.get_or_init(|| written)
    };
    Ok(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into())
}

/// Writes the filter to a sealed memory file.
fn write() -> Result<File, ExecutorError> {
    let failed = |error: std::io::Error| {
        let message = format!("failed to store the filter for system calls: {error}");
        ExecutorError::caused_by(message, error)
    };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let created = memfd_create("driverkit-matrix-seccomp", flags);
    let mut file = File::from(created.map_err(|error| failed(error.into()))?);
    file.write_all(&bytes(&filter(architecture()?)?))
        .map_err(failed)?;
    file.rewind().map_err(failed)?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fcntl_add_seals(&file, seals).map_err(|error| failed(error.into()))?;
    Ok(file)
}

/// Returns the filter in the kernel's format: instructions of eight bytes.
fn bytes(program: &BpfProgram) -> Vec<u8> {
    let instruction = |one: &seccompiler::sock_filter| {
        let [low, high] = one.code.to_ne_bytes();
        let [a, b, c, d] = one.k.to_ne_bytes();
        [low, high, one.jt, one.jf, a, b, c, d]
    };
    program.iter().flat_map(instruction).collect()
}

fn failed(error: seccompiler::BackendError) -> ExecutorError {
    ExecutorError::caused_by("failed to create the filter for system calls", error)
}

/// Returns the architecture that this program was compiled for, which determines the numbers of system calls.
fn architecture() -> Result<TargetArch, ExecutorError> {
    TargetArch::try_from(std::env::consts::ARCH).map_err(failed)
}

fn filter(architecture: TargetArch) -> Result<BpfProgram, ExecutorError> {
    let equal = |argument, operator, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
            .and_then(|condition| SeccompRule::new(vec![condition]))
            .map_err(failed)
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED
        .iter()
        .chain(ALLOWED_HERE)
        .map(|&number| (number, Vec::new()))
        .collect();
    let without_namespaces = SeccompCmpOp::MaskedEq(NEW_NAMESPACES);
    rules.insert(libc::SYS_clone, vec![equal(0, without_namespaces, 0)?]);
    let any_of = |values: &[u64]| {
        let rules = values
            .iter()
            .map(|&value| equal(0, SeccompCmpOp::Eq, value));
        rules.collect::<Result<Vec<_>, _>>()
    };
    let families = SOCKET_FAMILIES.map(i32::unsigned_abs).map(u64::from);
    rules.insert(libc::SYS_socket, any_of(&families)?);
    rules.insert(libc::SYS_personality, any_of(&PERSONALITIES)?);
    let not_there = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    SeccompFilter::new(rules, not_there, SeccompAction::Allow, architecture)
        .and_then(BpfProgram::try_from)
        .map_err(failed)
}

macro_rules! calls {
    ($($name:ident)*) => { &[$(libc::$name),*] };
}

/// Allowed on every architecture. `clone`, `socket` and `personality` are allowed with some arguments only.
#[rustfmt::skip]
const ALLOWED: &[i64] = calls!(
    // Files.
    SYS_openat SYS_openat2 SYS_close SYS_close_range SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64
    SYS_preadv SYS_pwritev SYS_preadv2 SYS_pwritev2 SYS_lseek SYS_dup SYS_dup3 SYS_fcntl SYS_flock SYS_fsync SYS_fdatasync
    SYS_sync SYS_syncfs SYS_sync_file_range SYS_truncate SYS_ftruncate SYS_fallocate SYS_fadvise64 SYS_readahead
    SYS_fstat SYS_newfstatat SYS_statx SYS_statfs SYS_fstatfs SYS_faccessat SYS_faccessat2 SYS_readlinkat SYS_getdents64
    SYS_mkdirat SYS_mknodat SYS_unlinkat SYS_linkat SYS_symlinkat SYS_renameat SYS_renameat2 SYS_fchmod SYS_fchmodat
    SYS_fchown SYS_fchownat SYS_umask SYS_utimensat SYS_getcwd SYS_chdir SYS_fchdir SYS_pipe2 SYS_splice
    SYS_tee SYS_vmsplice SYS_sendfile SYS_copy_file_range SYS_ioctl SYS_memfd_create SYS_inotify_init1
    SYS_inotify_add_watch SYS_inotify_rm_watch SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_listxattr SYS_llistxattr
    SYS_flistxattr SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_removexattr SYS_lremovexattr SYS_fremovexattr
    SYS_io_setup SYS_io_destroy SYS_io_submit SYS_io_cancel SYS_io_getevents
    // Memory.
    SYS_brk SYS_mmap SYS_munmap SYS_mremap SYS_mprotect SYS_pkey_mprotect SYS_pkey_alloc SYS_pkey_free SYS_madvise
    SYS_mincore SYS_msync SYS_mlock SYS_mlock2 SYS_munlock SYS_mlockall SYS_munlockall SYS_remap_file_pages SYS_membarrier
    SYS_shmget SYS_shmat SYS_shmdt SYS_shmctl SYS_semget SYS_semop SYS_semctl SYS_semtimedop SYS_msgget SYS_msgsnd
    SYS_msgrcv SYS_msgctl SYS_mq_open SYS_mq_unlink SYS_mq_timedsend SYS_mq_timedreceive SYS_mq_notify SYS_mq_getsetattr
    // Processes and threads.
    SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_wait4 SYS_waitid SYS_getpid SYS_getppid SYS_gettid SYS_getpgid
    SYS_setpgid SYS_getsid SYS_setsid SYS_set_tid_address SYS_set_robust_list SYS_get_robust_list SYS_rseq SYS_futex
    SYS_futex_waitv SYS_sched_yield SYS_sched_getaffinity SYS_sched_setaffinity SYS_sched_getparam SYS_sched_setparam
    SYS_sched_getscheduler SYS_sched_setscheduler SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_getattr
    SYS_sched_setattr SYS_sched_rr_get_interval SYS_getpriority SYS_setpriority SYS_ioprio_get SYS_ioprio_set SYS_getcpu
    SYS_prctl SYS_seccomp SYS_prlimit64 SYS_getrlimit SYS_setrlimit SYS_getrusage SYS_times SYS_pidfd_open
    SYS_pidfd_send_signal SYS_restart_syscall
    // Users: these change nothing without capabilities.
    SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_getresuid SYS_getresgid SYS_getgroups SYS_setuid SYS_setgid
    SYS_setreuid SYS_setregid SYS_setresuid SYS_setresgid SYS_setfsuid SYS_setfsgid SYS_setgroups SYS_capget SYS_capset
    // Signals and time.
    SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_rt_sigpending SYS_rt_sigsuspend SYS_rt_sigtimedwait
    SYS_rt_sigqueueinfo SYS_rt_tgsigqueueinfo SYS_sigaltstack SYS_kill SYS_tkill SYS_tgkill SYS_signalfd4 SYS_nanosleep
    SYS_clock_gettime SYS_clock_getres SYS_clock_nanosleep SYS_gettimeofday SYS_getitimer SYS_setitimer SYS_timer_create
    SYS_timer_settime SYS_timer_gettime SYS_timer_getoverrun SYS_timer_delete SYS_timerfd_create SYS_timerfd_settime
    SYS_timerfd_gettime
    // Polling, and sockets of the sandbox's own network.
    SYS_ppoll SYS_pselect6 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_socketpair
    SYS_bind SYS_listen SYS_accept SYS_accept4 SYS_connect SYS_getsockname SYS_getpeername SYS_sendto SYS_recvfrom
    SYS_sendmsg SYS_recvmsg SYS_sendmmsg SYS_recvmmsg SYS_setsockopt SYS_getsockopt SYS_shutdown
    // The machine.
    SYS_uname SYS_sysinfo SYS_getrandom
);

/// Allowed on x86-64 only: calls that other architectures never had, or that have no name there yet.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[i64] = calls!(
    SYS_open SYS_creat SYS_stat SYS_lstat SYS_access SYS_readlink SYS_getdents SYS_mkdir SYS_rmdir SYS_mknod SYS_unlink
    SYS_link SYS_symlink SYS_rename SYS_chmod SYS_chown SYS_lchown SYS_utime SYS_utimes SYS_futimesat SYS_pipe SYS_dup2
    SYS_fork SYS_vfork SYS_getpgrp SYS_arch_prctl SYS_alarm SYS_pause SYS_time SYS_signalfd SYS_eventfd SYS_poll SYS_select
    SYS_epoll_create SYS_epoll_wait SYS_inotify_init SYS_fchmodat2
);

#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[i64] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_is_written_whole() {
        let program = filter(architecture().unwrap()).unwrap();
        let written = std::fs::read(file().unwrap()).unwrap();
        assert_eq!(written.len(), program.len() * 8);
        assert!(program.len() < 4096, "longer than the kernel takes");
    }

    #[test]
    fn filter_can_be_written_for_every_architecture_that_builds() {
        for architecture in [TargetArch::x86_64, TargetArch::aarch64] {
            let program = filter(architecture).unwrap();
            assert!(program.len() > ALLOWED.len(), "{architecture:?}");
        }
    }

    #[test]
    fn calls_against_the_kernel_are_not_allowed() {
        let dangerous = [
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
            libc::SYS_io_uring_setup,
            libc::SYS_open_by_handle_at,
            libc::SYS_init_module,
            libc::SYS_kexec_load,
            // The arguments are in memory, where a filter cannot read them.
            libc::SYS_clone3,
        ];
        for number in dangerous {
            assert!(
                !ALLOWED.contains(&number) && !ALLOWED_HERE.contains(&number),
                "{number}"
            );
        }
    }
}
