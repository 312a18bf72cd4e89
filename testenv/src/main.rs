//! `testenv`: the test environment for people and for make.

mod demo;

use mailcert_testenv::{Cluster, Error, Options, Result, images, packages, tools, vectors};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const USAGE: &str = "\
usage: testenv COMMAND
  tools [NAME…]           build what is missing, and print where each tool is
  packages                install the Debian packages that are missing (as root)
  vectors                 download the published test vectors, and print where they are
  images                  make the images that are missing, and print where each is
  up [--node] DIR         start a cluster that stays until it is taken down
  exec DIR COMMAND…       run a command where the cluster's addresses are reachable
  load DIR ARCHIVE…       load OCI archives into the node
  down DIR                end the cluster and remove DIR
  demo DIR BINARY         a cluster with the operator and the quick start, until it is taken down
  demo-down DIR           end the demo and remove DIR
  demo-current IMAGE [MAIL_IMAGE]
                          the same in the cluster of the current context
  demo-current-down       remove it from there
  hold [--node]           start a cluster, print its folder, and keep it until standard input ends";

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("testenv: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[OsString]) -> Result<ExitCode> {
    let usage = || Error::new(USAGE);
    let (verb, rest) = args.split_first().ok_or_else(usage)?;
    match (verb.to_str().ok_or_else(usage)?, rest) {
        ("tools", names) => build(names)?,
        ("packages", []) => install()?,
        ("vectors", []) => println!("{}", vectors::cryptography()?.display()),
        ("images", []) => {
            for archive in [images::pause()?, images::mail()?] {
                println!("{}", archive.display());
            }
        }
        ("up", [dir]) => up(Path::new(dir), false)?,
        ("up", [flag, dir]) if flag == "--node" => up(Path::new(dir), true)?,
        ("exec", [dir, program, arguments @ ..]) => return exec(Path::new(dir), program, arguments),
        ("load", [dir, archives @ ..]) => {
            let cluster = Cluster::open(Path::new(dir))?;
            archives.iter().try_for_each(|archive| cluster.load_image(Path::new(archive)))?;
        }
        ("down", [dir]) => Cluster::down(Path::new(dir))?,
        ("demo", [dir, binary]) => demo::up(Path::new(dir), Path::new(binary))?,
        ("demo-down", [dir]) => demo::down(Path::new(dir))?,
        ("demo-current", [image]) => demo::up_current(&image.to_string_lossy(), None)?,
        ("demo-current", [image, mail]) => demo::up_current(&image.to_string_lossy(), Some(&mail.to_string_lossy()))?,
        ("demo-current-down", []) => demo::down_current()?,
        ("hold", rest) => hold(rest.first().is_some_and(|flag| flag == "--node"))?,
        _ => return Err(usage()),
    }
    Ok(ExitCode::SUCCESS)
}

fn build(names: &[OsString]) -> Result<()> {
    let all = tools::all();
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|tool| *name != tool.name)) {
        return Err(Error::new(format!("there is no tool {}", unknown.display())));
    }
    for tool in all.iter().filter(|tool| names.is_empty() || names.iter().any(|name| name == tool.name)) {
        println!("{}", tool.path()?.display());
    }
    Ok(())
}

fn install() -> Result<()> {
    let servers = [packages::JAVA.as_slice(), &packages::SERVERS, &packages::DANE, &packages::STORES].concat();
    packages::install(&[packages::NODE.as_slice(), &packages::IMAGES, &packages::BIND, &servers].concat())
}

fn up(dir: &Path, node: bool) -> Result<()> {
    let cluster = Cluster::up_detached(dir, &Options { node, ..Options::default() })?;
    println!("export KUBECONFIG={}", cluster.kubeconfig_inside().display());
    if node {
        println!("# reachable with: testenv exec {} COMMAND…", dir.display());
    }
    Ok(())
}

fn exec(dir: &Path, program: &OsString, arguments: &[OsString]) -> Result<ExitCode> {
    let cluster = Cluster::open(dir)?;
    // kubectl and the like are found without being on the path.
    let known = tools::all().into_iter().find(|tool| program == tool.name);
    let program = known.map_or_else(|| Ok(PathBuf::from(program)), |tool| tool.path())?;
    let mut command = Command::new(program);
    command.args(arguments);
    let status = cluster.exec(command)?.wait().map_err(|error| Error::new(error.to_string()))?;
    Ok(status.code().map_or(ExitCode::FAILURE, |code| ExitCode::from(code as u8)))
}

fn hold(node: bool) -> Result<()> {
    let cluster = Cluster::start(&Options { node, ..Options::default() })?;
    println!("{}", cluster.dir().display());
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).map_err(|error| Error::new(error.to_string()))?;
    Ok(())
}
