//! The sandbox over real processes: what programs may do, and that nothing else works, each for the
//! reason that is meant to stop it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use maestro_skill_runner::sandbox::{
    Execution, Exit, Limits, Program, Sandbox, SandboxConfig, SandboxError,
};

struct Bench {
    sandbox: Sandbox,
    folder: tempfile::TempDir,
}

async fn bench_with(limits: Limits, max_concurrent: usize) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let config = SandboxConfig {
        launcher: env!("CARGO_BIN_EXE_maestro-skill-runner").into(),
        scratch: Some(folder.path().to_owned()),
        max_concurrent,
        limits,
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::open(config).await.unwrap();
    Bench { sandbox, folder }
}

async fn bench() -> Bench {
    bench_with(Limits::default(), 4).await
}

impl Bench {
    async fn run(&self, source: &str) -> Execution {
        let program = Program {
            source: source.to_owned(),
            ..Program::default()
        };
        let done = self.sandbox.run(program).await.unwrap();
        assert!(left_in(self.folder.path()).is_empty());
        done
    }

    /// Each statement must fail with this error number.
    async fn refuses(&self, errno: &str, statements: &[&str]) {
        for statement in statements {
            let source = format!(
                "import errno, os, sys\ntry:\n    {statement}\n    print('done')\n\
                 except OSError as error:\n    print(errno.errorcode.get(error.errno))\n"
            );
            let done = self.run(&source).await;
            assert_eq!(done.stdout.trim(), errno, "{statement}: {done:?}");
        }
    }
}

fn left_in(folder: &Path) -> Vec<std::fs::DirEntry> {
    std::fs::read_dir(folder).unwrap().flatten().collect()
}

/// Processes whose command line names the folder of scratch folders.
fn processes_of(folder: &Path) -> usize {
    let name = folder.to_str().unwrap();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .filter(|line| String::from_utf8_lossy(line).contains(name))
        .count()
}

#[tokio::test]
async fn a_program_computes_reads_and_writes_its_own_files() {
    let bench = bench().await;
    let program = Program {
        source: "import sys, math, json, re, threading, collections, decimal, random, datetime\n\
                 open('a.txt', 'w').write(sys.stdin.read())\n\
                 thread = threading.Thread(target=lambda: print(open('a.txt').read(), end=''))\n\
                 thread.start(); thread.join()\n\
                 print(math.comb(5, 2), sys.argv[1:], dict(__import__('os').environ))\n"
            .to_owned(),
        stdin: "given".to_owned(),
        arguments: vec!["one".to_owned()],
        timeout: None,
    };
    let done = bench.sandbox.run(program).await.unwrap();
    assert_eq!(done.exit, Exit::Code(0), "{done:?}");
    assert!(done.stdout.starts_with("given10 ['one'] {"), "{done:?}");
    for secret in ["PATH", "HOME", "MAESTRO"] {
        assert!(!done.stdout.contains(secret), "{done:?}");
    }
    let done = bench
        .run("import sys; print('bad', file=sys.stderr); sys.exit(3)")
        .await;
    assert_eq!((done.exit, done.stderr.trim()), (Exit::Code(3), "bad"));
    let done = bench.run("assert 1 == 2").await;
    assert!(done.exit == Exit::Code(1) && done.stderr.contains("AssertionError"));
}

#[tokio::test]
async fn there_are_no_sockets() {
    bench()
        .await
        .refuses(
            "EPERM",
            &[
                "import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
                "import socket; socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
                "import socket; socket.socket(socket.AF_UNIX)",
                "import socket; socket.socketpair()",
            ],
        )
        .await;
}

#[tokio::test]
async fn files_outside_the_scratch_folder_are_out_of_reach() {
    let outside = tempfile::tempdir().unwrap();
    let token = outside.path().join("token");
    std::fs::write(&token, "secret").unwrap();
    let token = token.to_str().unwrap();
    let read = format!("open('{token}').read()");
    let write = format!("open('{token}', 'w')");
    let link = format!("os.symlink('{token}', 'link'); open('link').read()");
    let new = format!("open('{token}.new', 'w')");
    let bench = bench().await;
    bench
        .refuses(
            "EACCES",
            &[
                "open('/etc/passwd').read()",
                "os.listdir('/')",
                "os.listdir('..')",
                "open('../report', 'w')",
                &read,
                &write,
                &link,
                &new,
                "os.mkdir('/tmp/made-by-a-program')",
                "open('/proc/self/environ').read()",
                "open(f'/proc/{os.getppid()}/environ').read()",
                "open(f'/proc/{os.getppid()}/mem', 'rb')",
                "open('/proc/self/mem', 'r+b')",
                "open('/proc/self/root/etc/passwd')",
                "open('/proc/self/cwd/../../x', 'w')",
                "os.execv('/bin/sh', ['sh', '-c', 'echo out'])",
                "open('p', 'w').write('#!/bin/sh\\necho out'); os.execv('p', ['p'])",
                "open('b', 'wb').write(open(sys.executable, 'rb').read()); os.execv('b', ['b'])",
            ],
        )
        .await;
    let truncate = format!("os.truncate('{token}', 0)");
    bench
        .refuses("EPERM", &[&truncate, "os.chmod('main.py', 0o777)"])
        .await;
    let linked = format!("os.link('{token}', 'hard')");
    let done = bench
        .run(&format!(
            "import os\ntry:\n    {linked}\nexcept OSError as e:\n    print('no')"
        ))
        .await;
    assert_eq!(done.stdout.trim(), "no");
    assert_eq!(std::fs::read_to_string(token).unwrap(), "secret");
}

#[tokio::test]
async fn there_is_one_process_and_it_reaches_no_other() {
    bench()
        .await
        .refuses(
            "EPERM",
            &[
                "os.fork()",
                "import subprocess; subprocess.run([sys.executable, '-c', '1'])",
                "os.posix_spawn('/bin/sh', ['sh'], {})",
                "os.setsid()",
                "os.setpgid(0, 0)",
                "os.kill(os.getppid(), 9)",
                "os.kill(os.getppid(), 0)",
                "os.kill(-1, 9)",
                "os.kill(0, 9)",
                "os.pidfd_open(os.getppid())",
                "os.memfd_create('x')",
            ],
        )
        .await;
}

#[tokio::test]
async fn system_calls_by_number_are_refused_too() {
    let source = "import ctypes, os\n\
        libc = ctypes.CDLL(None, use_errno=True)\n\
        def call(*args):\n\
        \x20   assert libc.syscall(*args) == -1\n\
        \x20   return ctypes.get_errno()\n\
        parent = os.getppid()\n\
        libc.ptrace.restype = ctypes.c_long\n\
        assert libc.ptrace(16, parent, 0, 0) == -1\n\
        print(ctypes.get_errno())\n\
        assert libc.unshare(0x10000000) == -1\n\
        print(ctypes.get_errno())\n\
        # io_uring_setup, pidfd_getfd, clone3: the same numbers everywhere\n\
        print(call(425, 1, 0), call(438, 3, 0, 0), call(435, 0, 0))\n";
    let done = bench().await.run(source).await;
    assert_eq!(done.stdout, "1\n1\n1 1 38\n", "{done:?}");
}

#[tokio::test]
async fn memory_and_files_are_limited() {
    let bench = bench().await;
    let done = bench.run("x = bytearray(1 << 30)").await;
    assert!(done.stderr.contains("MemoryError"), "{done:?}");
    let done = bench
        .run("x = []\nwhile True: x.append(bytes(1 << 20))")
        .await;
    assert!(done.stderr.contains("MemoryError"), "{done:?}");
    bench
        .refuses(
            "EFBIG",
            &["open('f', 'wb', 0).write(b'x' * (16 << 20)); open('f', 'ab', 0).write(b'x')"],
        )
        .await;
    bench
        .refuses("EMFILE", &["k = [open('f', 'w') for _ in range(100)]"])
        .await;
}

#[tokio::test]
async fn output_is_cut_and_time_ends() {
    let bench = bench().await;
    let began = Instant::now();
    let done = bench.run("while True: print('x' * 1000)").await;
    assert_eq!((done.exit, done.truncated), (Exit::TooMuchOutput, true));
    assert_eq!(done.stdout.len(), 64 << 10);
    assert!(began.elapsed() < Duration::from_secs(5));
    let stubborn = "import signal, time\n\
        for s in (1, 2, 15): signal.signal(s, signal.SIG_IGN)\n\
        while True: time.sleep(1)";
    let program = Program {
        source: stubborn.to_owned(),
        timeout: Some(Duration::from_millis(500)),
        ..Program::default()
    };
    let done = bench.sandbox.run(program).await.unwrap();
    assert_eq!(done.exit, Exit::TimedOut);
    assert!(done.wall < Duration::from_secs(3));
    let limits = Limits {
        cpu_seconds: 1,
        ..Limits::default()
    };
    let quick = bench_with(limits, 1).await;
    for source in [
        "while True: pass",
        "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
    ] {
        let done = quick.run(source).await;
        assert_eq!(done.exit, Exit::TimedOut, "{done:?}");
    }
    assert_eq!(processes_of(bench.folder.path()), 0);
}

#[tokio::test]
async fn a_full_sandbox_refuses_and_a_dropped_run_leaves_nothing() {
    let bench = bench_with(Limits::default(), 1).await;
    let sleeper = Program {
        source: "import time; time.sleep(60)".to_owned(),
        ..Program::default()
    };
    let sandbox = bench.sandbox.clone();
    let again = sleeper.clone();
    let running = tokio::spawn(async move { sandbox.run(sleeper).await });
    while processes_of(bench.folder.path()) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = bench.sandbox.run(again).await;
    assert!(matches!(refused, Err(SandboxError::Full(1))), "{refused:?}");
    running.abort();
    let began = Instant::now();
    while processes_of(bench.folder.path()) > 0 || !left_in(bench.folder.path()).is_empty() {
        assert!(began.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn many_runs_leave_no_process_and_no_file() {
    let bench = bench().await;
    let runs = std::env::var("SANDBOX_RUNS").map_or(200, |runs| runs.parse().unwrap());
    for run in 0..runs {
        let done = bench
            .run(&format!("open('f', 'w').write('x'); print({run})"))
            .await;
        assert_eq!(done.stdout.trim(), run.to_string());
    }
    assert_eq!(processes_of(bench.folder.path()), 0);
    assert!(left_in(bench.folder.path()).is_empty());
}
