//! Makes the kernels of `src/kernels/cuda` with NVRTC: machine code for each architecture, and PTX for those to come.
//!
//! NVRTC needs neither a device nor a driver nor headers. A source whose name ends in `_sm90` is for Hopper alone and may use
//! what only that has; all others are made for every architecture.

fn main() {
    println!("cargo::rerun-if-changed=src/kernels/cuda");
    println!("cargo::rerun-if-env-changed=CROFT_NVRTC");
    #[cfg(feature = "cuda")]
    cuda::kernels();
}

#[cfg(feature = "cuda")]
#[allow(unsafe_code)]
mod cuda {
    use std::{
        env,
        ffi::{CStr, CString, c_char, c_int, c_void},
        fmt::Write as _,
        fs,
        path::{Path, PathBuf},
        sync::Mutex,
        thread,
    };

    use libloading::{Library, Symbol};

    /// Compute capabilities with machine code of their own: A100, RTX 30, RTX 40 and L40, H100, RTX 50.
    const ARCHITECTURES: [u32; 5] = [80, 86, 89, 90, 120];
    /// What the driver of any later device compiles when it loads it.
    const PTX: &str = "compute_80";
    const NAMES: [&str; 3] = ["libnvrtc.so.13", "libnvrtc.so", "libnvrtc.so.12"];
    const REMEDY: &str =
        "run `deploy/cuda/build`, which fetches it, or set CROFT_NVRTC to the path of libnvrtc.so.13";

    struct Job {
        module: String,
        /// None for PTX.
        architecture: Option<u32>,
    }

    pub(super) fn kernels() {
        let folder =
            Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("src/kernels/cuda");
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
        let (mut sources, mut headers) = (Vec::new(), Vec::new());
        let mut files: Vec<PathBuf> = fs::read_dir(&folder)
            .expect("the kernels' folder")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        files.sort();
        for file in files {
            let text = || CString::new(fs::read(&file).expect("a source")).expect("a text without zeros");
            let name = |part: Option<&std::ffi::OsStr>| part.expect("a name").to_string_lossy().into_owned();
            match file.extension().and_then(|e| e.to_str()) {
                Some("cu") => sources.push((name(file.file_stem()), text())),
                Some("cuh") => headers.push((CString::new(name(file.file_name())).expect("a name"), text())),
                _ => {}
            }
        }
        let mut jobs = Vec::new();
        for (module, _) in &sources {
            if module.ends_with("_sm90") {
                jobs.push(Job { module: module.clone(), architecture: Some(90) });
                continue;
            }
            let all = ARCHITECTURES.map(Some).into_iter().chain([None]);
            jobs.extend(all.map(|architecture| Job { module: module.clone(), architecture }));
        }
        let nvrtc = Nvrtc::load();
        let mut table = String::from("&[\n");
        for job in &jobs {
            let file = file_of(&out, job);
            let architecture = job.architecture;
            let module = &job.module;
            writeln!(table, "    Image {{ module: {module:?}, architecture: {architecture:?}, bytes: include_bytes!({file:?}) }},")
                .expect("a string grows");
        }
        table.push(']');
        fs::write(out.join("images.rs"), table).expect("room for the table of kernels");
        let queue = Mutex::new(jobs);
        let workers = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    loop {
                        let Some(job) = queue.lock().expect("no worker panicked").pop() else { break };
                        let source =
                            &sources.iter().find(|(name, _)| *name == job.module).expect("its source").1;
                        let made =
                            nvrtc.compile(source, &headers, &job).unwrap_or_else(|log| panic!("{log}"));
                        fs::write(file_of(&out, &job), made).expect("room for a kernel");
                    }
                });
            }
        });
    }

    fn file_of(out: &Path, job: &Job) -> PathBuf {
        match job.architecture {
            Some(architecture) => out.join(format!("{}.sm_{architecture}.cubin", job.module)),
            None => out.join(format!("{}.ptx", job.module)),
        }
    }

    type Program = *mut c_void;

    /// It, and what it would look for by a name that the loader does not find beside it.
    struct Nvrtc {
        library: Library,
        _builtins: Option<Library>,
    }

    impl Nvrtc {
        fn load() -> Self {
            let named = env::var("CROFT_NVRTC").ok();
            let names = named.iter().map(String::as_str).chain(NAMES);
            for name in names {
                // SAFETY: loading NVRTC runs NVIDIA's initialisers.
                if let Ok(library) = unsafe { Library::new(name) } {
                    let builtins = Path::new(name).parent().and_then(builtins_in);
                    // SAFETY: as above; it is data.
                    let _builtins = builtins.and_then(|file| unsafe { Library::new(file) }.ok());
                    return Self { library, _builtins };
                }
            }
            panic!("NVRTC was not found, which the feature `cuda` is built with: {REMEDY}");
        }

        fn compile(
            &self,
            source: &CStr,
            headers: &[(CString, CString)],
            job: &Job,
        ) -> Result<Vec<u8>, String> {
            let architecture = match (job.architecture, job.module.ends_with("_sm90")) {
                (Some(90), true) => "sm_90a".to_owned(),
                (Some(architecture), _) => format!("sm_{architecture}"),
                (None, _) => PTX.to_owned(),
            };
            let options = [
                format!("--gpu-architecture={architecture}"),
                "--std=c++17".into(),
                "--device-as-default-execution-space".into(),
            ];
            let options = options.map(|option| CString::new(option).expect("no zeros"));
            let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
            let names: Vec<*const c_char> = headers.iter().map(|(name, _)| name.as_ptr()).collect();
            let texts: Vec<*const c_char> = headers.iter().map(|(_, text)| text.as_ptr()).collect();
            let name = CString::new(format!("{}.cu", job.module)).expect("no zeros");
            let mut program: Program = std::ptr::null_mut();
            // SAFETY: the signatures are those of nvrtc.h; all texts end in a zero and outlive the calls.
            unsafe {
                let create: Symbol<
                    unsafe extern "C" fn(
                        *mut Program,
                        *const c_char,
                        *const c_char,
                        c_int,
                        *const *const c_char,
                        *const *const c_char,
                    ) -> c_int,
                > = self.get(b"nvrtcCreateProgram\0");
                let compile: Symbol<unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int> =
                    self.get(b"nvrtcCompileProgram\0");
                let destroy: Symbol<unsafe extern "C" fn(*mut Program) -> c_int> =
                    self.get(b"nvrtcDestroyProgram\0");
                let code = create(
                    &raw mut program,
                    source.as_ptr(),
                    name.as_ptr(),
                    names.len() as c_int,
                    texts.as_ptr(),
                    names.as_ptr(),
                );
                assert_eq!(code, 0, "nvrtcCreateProgram");
                let made = match compile(program, options.len() as c_int, options.as_ptr()) {
                    0 if job.architecture.is_some() => {
                        Ok(self.text(program, b"nvrtcGetCUBINSize\0", b"nvrtcGetCUBIN\0"))
                    }
                    0 => Ok(self.text(program, b"nvrtcGetPTXSize\0", b"nvrtcGetPTX\0")),
                    code => {
                        let log = self.text(program, b"nvrtcGetProgramLogSize\0", b"nvrtcGetProgramLog\0");
                        let log = String::from_utf8_lossy(&log).into_owned();
                        Err(format!("{} for {architecture} (NVRTC error {code}):\n{log}", job.module))
                    }
                };
                destroy(&raw mut program);
                made
            }
        }

        /// What NVRTC says in two calls: how long it is, and what.
        unsafe fn text(&self, program: Program, size: &[u8], get: &[u8]) -> Vec<u8> {
            unsafe {
                let size: Symbol<unsafe extern "C" fn(Program, *mut usize) -> c_int> = self.get(size);
                let get: Symbol<unsafe extern "C" fn(Program, *mut c_char) -> c_int> = self.get(get);
                let mut len = 0;
                assert_eq!(size(program, &raw mut len), 0, "the size of what NVRTC made");
                let mut bytes = vec![0_u8; len];
                assert_eq!(get(program, bytes.as_mut_ptr().cast()), 0, "what NVRTC made");
                bytes
            }
        }

        unsafe fn get<T>(&self, name: &[u8]) -> Symbol<'_, T> {
            unsafe { self.library.get(name) }
                .unwrap_or_else(|error| panic!("NVRTC is too old: {error}; {REMEDY}"))
        }
    }

    fn builtins_in(folder: &Path) -> Option<PathBuf> {
        let is_it = |file: &PathBuf| {
            file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libnvrtc-builtins.so"))
        };
        fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).find(is_it)
    }
}
