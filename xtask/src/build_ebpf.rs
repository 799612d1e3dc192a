//! `cargo xtask build-ebpf`: builds the steering program and commits it to `ebpf/loader`, together with the
//! hashes of the sources that it was built from and the compiler that built it.

use anyhow::{Context as _, Result, bail, ensure};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The object, relative to the repository.
pub const OBJECT: &str = "ebpf/loader/steer.bpf.o";
/// Its sources' hashes, in the format of sha256sum(1).
pub const MANIFEST: &str = "ebpf/loader/steer.sources.sha256";
/// The compiler that built it.
pub const COMPILER: &str = "ebpf/loader/steer.compiler.txt";

const TARGET: &str = "bpfel-unknown-none";

/// Rebuilds the object and its records.
///
/// # Errors
/// Without a toolchain the error says what to install; otherwise what failed.
pub fn run() -> Result<()> {
    let root = repository()?;
    let toolchain = Toolchain::find()?;
    println!("building the steering program with {}", toolchain.name);
    let object = toolchain.build(&root, &root.join("ebpf/steer/target"))?;
    fs::write(root.join(OBJECT), &object).with_context(|| format!("writing {OBJECT}"))?;
    fs::write(root.join(MANIFEST), manifest(&root)?).with_context(|| format!("writing {MANIFEST}"))?;
    fs::write(root.join(COMPILER), &toolchain.compiler).with_context(|| format!("writing {COMPILER}"))?;
    println!("wrote {OBJECT} ({} bytes), {MANIFEST} and {COMPILER}", object.len());
    Ok(())
}

/// The folder of the repository, whichever crate this is compiled into.
///
/// # Errors
/// When the sources are gone.
pub fn repository() -> Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .find(|folder| folder.join("ebpf/steer/Cargo.toml").is_file())
        .map(Path::to_owned)
        .context("the sources of the steering program are not where they were at build time")
}

/// The hashes of everything that the object is made from, and of the object itself.
///
/// # Errors
/// When a file cannot be read, or there is no sha256sum(1).
pub fn manifest(root: &Path) -> Result<String> {
    let mut files = vec![OBJECT.to_owned()];
    for folder in ["ebpf/steer/.cargo", "ebpf/steer/src", "ebpf/steer-abi/src"] {
        list(root, folder, &mut files)?;
    }
    for file in ["ebpf/steer/Cargo.toml", "ebpf/steer/Cargo.lock", "ebpf/steer-abi/Cargo.toml"] {
        files.push(file.to_owned());
    }
    files.sort();
    output(Command::new("sha256sum").current_dir(root).args(files))
}

fn list(root: &Path, folder: &str, files: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(root.join(folder)).with_context(|| format!("reading {folder}"))? {
        let entry = entry?;
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            list(root, &path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// A compiler and a linker for the BPF target.
pub struct Toolchain {
    /// For people.
    pub name: String,
    /// Versions of the compiler and the linker, which tell whether a rebuild has to give the same bytes.
    pub compiler: String,
    sysroot: PathBuf,
    linker: PathBuf,
    strip: PathBuf,
    cargo: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

const WHAT_TO_INSTALL: &str = "\
with rustup and the internet:
    rustup toolchain install nightly --component rust-src
    cargo install bpf-linker --version 0.13.0 --locked --no-default-features --features llvm-22
on Debian 12 and later, from its own packages:
    apt-get install --no-install-recommends rustc-web rust-web-src llvm-22-dev
    LLVM_PREFIX=/usr/lib/llvm-22 \\
        cargo install bpf-linker --version 0.13.0 --locked --no-default-features --features llvm-22";

impl Toolchain {
    /// Finds a toolchain: rustup's nightly, or else Debian's.
    ///
    /// # Errors
    /// The error says why neither will do, and what to install.
    pub fn find() -> Result<Self> {
        let nightly = match Self::nightly() {
            Ok(toolchain) => return Ok(toolchain),
            Err(reason) => reason,
        };
        match Self::debian() {
            Ok(toolchain) => Ok(toolchain),
            Err(debian) => bail!(
                "no toolchain for eBPF: rustup's nightly: {nightly:#}; Debian's: {debian:#}\nInstall one,\n{WHAT_TO_INSTALL}"
            ),
        }
    }

    fn nightly() -> Result<Self> {
        let sysroot =
            output(clean(Command::new("rustup").args(["run", "nightly", "rustc", "--print=sysroot"])))?;
        let rustc = Path::new(sysroot.trim()).join("bin/rustc");
        Self::with("rustup's nightly", &rustc, ["rustup", "run", "nightly", "cargo"], vec![])
    }

    fn debian() -> Result<Self> {
        let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        // Debian has no nightly; this makes its compiler accept what is unstable.
        let environment = vec![("RUSTC", "/usr/bin/rustc".to_owned()), ("RUSTC_BOOTSTRAP", "1".to_owned())];
        Self::with("Debian's rustc", Path::new("/usr/bin/rustc"), [cargo], environment)
    }

    fn with(
        name: &str,
        rustc: &Path,
        cargo: impl IntoIterator<Item = impl Into<String>>,
        environment: Vec<(&'static str, String)>,
    ) -> Result<Self> {
        let version = output(clean(Command::new(rustc).arg("-vV")))?;
        let sysroot = PathBuf::from(output(clean(Command::new(rustc).arg("--print=sysroot")))?.trim());
        let library = sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml");
        ensure!(library.is_file(), "the source of the standard library is not at {}", library.display());
        let linker = find_program("bpf-linker", &[])?;
        let release =
            |key: &str| version.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("unknown").trim();
        let linker_version = output(Command::new(&linker).arg("--version"))?;
        let compiler = format!(
            "rustc {}, LLVM {}, {}\n",
            release("release:"),
            release("LLVM version:"),
            linker_version.trim()
        );
        Ok(Self {
            name: format!("{name} ({})", compiler.trim()),
            compiler,
            strip: find_strip(&sysroot)?,
            sysroot,
            linker,
            cargo: cargo.into_iter().map(Into::into).collect(),
            environment,
        })
    }

    /// Builds the object, without the debug information but with its BTF.
    ///
    /// # Errors
    /// When the build fails, or the object would depend on this machine.
    pub fn build(&self, root: &Path, target_dir: &Path) -> Result<Vec<u8>> {
        let (program, arguments) = self.cargo.split_first().context("no cargo")?;
        let home = cargo_home()?;
        let mut cargo = Command::new(program);
        clean(&mut cargo)
            .current_dir(root.join("ebpf/steer"))
            .args(arguments)
            .args(["build", "--release", "--locked", "--quiet"])
            .env(format!("CARGO_TARGET_{}_LINKER", TARGET.to_uppercase().replace('-', "_")), &self.linker)
            .env("CARGO_TARGET_DIR", target_dir)
            .envs(self.environment.iter().cloned());
        // What BTF says about source files must not depend on where they are.
        for (from, to) in self.places(root, &home)? {
            let flag = format!("--remap-path-prefix={}={to}", from.display());
            cargo.args(["--config", &format!("target.{TARGET}.rustflags=['{flag}']")]);
        }
        output(&mut cargo)?;

        let linked = target_dir.join(TARGET).join("release/steer");
        let stripped = linked.with_extension("stripped");
        output(Command::new(&self.strip).arg("--strip-debug").arg(&linked).arg(&stripped))?;
        let object = fs::read(&stripped).with_context(|| format!("reading {}", stripped.display()))?;
        for place in [root, &home] {
            let name = place.to_string_lossy();
            let found = object.windows(name.len()).any(|window| window == name.as_bytes());
            ensure!(!found, "the object names the folder {name}, so it would differ on another machine");
        }
        Ok(object)
    }

    fn places(&self, root: &Path, home: &Path) -> Result<Vec<(PathBuf, &'static str)>> {
        let mut places = vec![
            (root.to_owned(), "/vrouter-xdp"),
            (self.sysroot.join("lib/rustlib/src/rust"), "/rust"),
            (home.to_owned(), "/cargo"),
        ];
        // The registry's folder has a hash in its name.
        let registries = home.join("registry/src");
        if registries.is_dir() {
            for entry in fs::read_dir(&registries)? {
                places.push((entry?.path(), "/registry"));
            }
        }
        Ok(places)
    }
}

/// Removes what an outer cargo or the user's shell would tell the inner build.
fn clean(command: &mut Command) -> &mut Command {
    for name in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTUP_TOOLCHAIN",
        "CARGO_BUILD_TARGET",
    ] {
        command.env_remove(name);
    }
    command
}

fn cargo_home() -> Result<PathBuf> {
    match env::var_os("CARGO_HOME") {
        Some(home) => Ok(home.into()),
        None => Ok(env::home_dir().context("neither CARGO_HOME nor HOME is set")?.join(".cargo")),
    }
}

/// An llvm-objcopy: the one that comes with a Rust toolchain, or LLVM's own.
fn find_strip(sysroot: &Path) -> Result<PathBuf> {
    let host = "x86_64-unknown-linux-gnu".replace("x86_64", env::consts::ARCH);
    let ours = output(Command::new("rustc").arg("--print=sysroot")).unwrap_or_default();
    let in_sysroot = |root: &Path| root.join("lib/rustlib").join(&host).join("bin");
    let folders = [in_sysroot(sysroot), in_sysroot(Path::new(ours.trim())), "/usr/lib/llvm-22/bin".into()];
    find_program("rust-objcopy", &folders).or_else(|_| find_program("llvm-objcopy", &folders))
}

fn find_program(name: &str, folders: &[PathBuf]) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let home = cargo_home()?.join("bin");
    let mut candidates = folders.iter().cloned().chain(env::split_paths(&path)).chain([home]);
    candidates
        .find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()))
        .with_context(|| format!("there is no program {name}"))
}

fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("running {name}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}: {}: {}", output.status, errors.trim());
    Ok(String::from_utf8(output.stdout)?)
}
