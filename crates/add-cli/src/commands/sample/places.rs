//! Where results go: checked before any work, and nothing that is there is replaced unless that is wanted.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use add_core::{error::CoreError, made_with::MadeWith};
use add_data::{PictureFormat, RgbImage, UNREAD_SUFFIXES, write_picture};

use super::super::check_folder;
use crate::terminal::say;

/// What the command line says.
pub(super) struct Targets<'a> {
    pub(super) out: Option<&'a Path>,
    pub(super) grid: Option<&'a Path>,
    pub(super) latents: Option<&'a Path>,
    pub(super) format: Option<PictureFormat>,
    pub(super) overwrite: bool,
}

/// Places that can be written to.
pub(super) struct Places {
    pub(super) pictures: Option<Target>,
    pub(super) grid: Option<PathBuf>,
    pub(super) latents: Option<PathBuf>,
}

/// Where pictures go, each as a file.
pub(super) enum Target {
    /// The only one.
    File(PathBuf),
    /// Numbered files in a folder.
    Folder { path: PathBuf, format: PictureFormat, overwrite: bool },
}

impl Targets<'_> {
    /// The places for so many pictures.
    pub(super) fn check(&self, count: usize) -> Result<Places, CoreError> {
        if self.out.is_none() && self.grid.is_none() && self.latents.is_none() {
            return Err(CoreError::Request(
                "nowhere to write to: give --out FOLDER, --out FILE.png or --grid FILE.png".to_owned(),
            ));
        }
        let pictures = self.out.map(|out| self.target(out, count)).transpose()?;
        if let Some(path) = self.grid {
            if PictureFormat::of(path).is_none() {
                return refuse("grid", format!("expected {}, got {}", endings(), path.display()));
            }
            self.file("grid", path)?;
        }
        if let Some(path) = self.latents {
            if path.extension() != Some(OsStr::new("safetensors")) {
                return refuse(
                    "save-latents",
                    format!("expected a .safetensors file, got {}", path.display()),
                );
            }
            self.file("save-latents", path)?;
        }
        let files = [self.grid, self.latents, self.out.filter(|_| matches!(pictures, Some(Target::File(_))))];
        let files: Vec<&Path> = files.into_iter().flatten().collect();
        if let Some(twice) = files.iter().find(|path| files.iter().filter(|other| other == path).count() > 1)
        {
            return refuse("out", format!("{} is named for two results", twice.display()));
        }
        Ok(Places {
            pictures,
            grid: self.grid.map(Path::to_path_buf),
            latents: self.latents.map(Path::to_path_buf),
        })
    }

    /// Where `--out` sends the pictures.
    fn target(&self, out: &Path, count: usize) -> Result<Target, CoreError> {
        let suffix = out.extension().map(|suffix| suffix.to_string_lossy().to_ascii_lowercase());
        let suffix = suffix.unwrap_or_default();
        let is_picture = add_data::SUFFIXES.contains(&&*suffix) || UNREAD_SUFFIXES.contains(&&*suffix);
        if out.is_dir() || !is_picture {
            check_folder(out)?;
            let format = self.format.unwrap_or(PictureFormat::Png);
            return Ok(Target::Folder { path: out.to_path_buf(), format, overwrite: self.overwrite });
        }
        let Some(format) = PictureFormat::of(out) else {
            return refuse("out", format!("expected a folder, or {}, got {}", endings(), out.display()));
        };
        if count != 1 {
            return refuse(
                "out",
                format!("expected a folder for {count} pictures, got the file {}", out.display()),
            );
        }
        if let Some(other) = self.format.filter(|stated| *stated != format) {
            return refuse("format", format!("expected {format}, as {} ends, got {other}", out.display()));
        }
        self.file("out", out)?;
        Ok(Target::File(out.to_path_buf()))
    }

    /// Refuses a file that cannot be written or must not be replaced.
    fn file(&self, option: &'static str, path: &Path) -> Result<(), CoreError> {
        let shown = path.display();
        if path.is_dir() {
            return refuse(option, format!("expected a file, {shown} is a folder"));
        }
        if !self.overwrite && fs::symlink_metadata(path).is_ok() {
            return refuse(option, format!("{shown} exists; --overwrite replaces it"));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return refuse(option, format!("{shown}: there is no folder {}", folder.display()));
        }
        add_files::check_writable(folder).map_err(CoreError::io(path))
    }
}

impl Places {
    /// The formats that are written.
    pub(super) fn formats(&self) -> impl Iterator<Item = PictureFormat> + '_ {
        let pictures = self.pictures.as_ref().and_then(|target| match target {
            Target::File(path) => PictureFormat::of(path),
            Target::Folder { format, .. } => Some(*format),
        });
        pictures.into_iter().chain(self.grid.as_deref().and_then(PictureFormat::of))
    }
}

impl Target {
    /// Writes pictures with what is said of each, and tells where they are.
    pub(super) fn write(&self, all: &[RgbImage], said: impl Fn(usize) -> MadeWith) -> Result<(), CoreError> {
        let (path, format, overwrite) = match self {
            Self::File(path) => {
                write(path, &all[0], &said(0))?;
                say(&format!("{}", path.display()));
                return Ok(());
            }
            Self::Folder { path, format, overwrite } => (path, *format, *overwrite),
        };
        fs::create_dir_all(path).map_err(CoreError::io(path))?;
        let mut names: Vec<String> = Vec::new();
        let mut number = if overwrite { 0 } else { next_number(path)? };
        for (at, picture) in all.iter().enumerate() {
            let name = loop {
                let name = format!("{number:04}.{format}");
                number += 1;
                if overwrite || reserve(&path.join(&name))? {
                    break name;
                }
            };
            write(&path.join(&name), picture, &said(at))?;
            names.push(name);
        }
        let shown = path.display();
        match names.as_slice() {
            [] => {}
            [one] => say(&format!("1 picture in {shown}: {one}")),
            [first, .., last] => say(&format!("{} pictures in {shown}: {first} to {last}", names.len())),
        }
        Ok(())
    }
}

/// Writes a picture with what is said of it.
pub(super) fn write(path: &Path, picture: &RgbImage, said: &MadeWith) -> Result<(), CoreError> {
    let text = said.texts();
    let text = text.each_ref().map(|(keyword, text)| (*keyword, text.as_str()));
    write_picture(path, picture, &text).map_err(|error| CoreError::Request(error.to_string()))
}

/// The number behind the largest that a picture in the folder has.
fn next_number(folder: &Path) -> Result<u64, CoreError> {
    let mut next = 0;
    for entry in fs::read_dir(folder).map_err(CoreError::io(folder))? {
        let path = entry.map_err(CoreError::io(folder))?.path();
        let number = path.file_stem().and_then(OsStr::to_str).and_then(|stem| stem.parse::<u64>().ok());
        if let (Some(number), Some(_)) = (number, PictureFormat::of(&path)) {
            next = next.max(number.saturating_add(1));
        }
    }
    Ok(next)
}

/// Takes a name for this process, so that another one that writes into the folder takes the next; false where it is taken.
fn reserve(path: &Path) -> Result<bool, CoreError> {
    match File::create_new(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(CoreError::io(path)(error)),
    }
}

fn endings() -> &'static str {
    "a file that ends in .png, .jpg, .jpeg or .webp"
}

fn refuse<T>(name: &'static str, problem: String) -> Result<T, CoreError> {
    Err(CoreError::Argument { name, problem })
}
