//! Makes sure of every image, as much at once as two processors can take.

use tokio::try_join;

use super::context::{Context, content_key};
use super::go::GoBuilds;
use super::node::{self, ControlPlane};
use super::{BUILT, Executables, ImagePolicy, Images, Source, base, recipes};
use crate::docker::{Docker, can_raise_limits};
use crate::observer::{Event, Observer, Step};
use crate::versions::{
    CONTROL_PLANE_PROGRAMS, DEBIAN, GO_PROGRAMS, KUBERNETES, MINIO_IMAGE, NODE_IMAGE, NODE_PROGRAMS,
};
use crate::{Folders, KindError, machine};

/// Makes images.
pub(crate) struct Builder<'a> {
    docker: &'a Docker,
    folders: &'a Folders,
    observer: &'a dyn Observer,
    source: Source,
}

impl<'a> Builder<'a> {
    /// Decides where images come from, and says so.
    ///
    /// # Errors
    /// When Docker doesn't answer.
    pub(crate) async fn new(
        policy: ImagePolicy,
        docker: &'a Docker,
        folders: &'a Folders,
        observer: &'a dyn Observer,
    ) -> Result<Self, KindError> {
        let (source, why) = Source::choose(policy, docker).await?;
        observer.notify(Event::Chosen(&why));
        Ok(Self { docker, folders, observer, source })
    }

    /// Makes sure of every image. What is there already is left as it is.
    ///
    /// # Errors
    /// The first image that can't be had; the others are given up.
    pub(crate) async fn ensure(
        &self,
        executables: &Executables,
        builds: &GoBuilds<'_>,
    ) -> Result<Images, KindError> {
        let images = match self.source {
            Source::Registry => self.fetch(executables).await?,
            Source::Build => self.build(executables, builds).await?,
        };
        let Images { node, minio, nfs, mountlab, csi_agent, sandbox } = &images;
        for image in [node, minio, nfs, mountlab, csi_agent, sandbox]
            .into_iter()
            .filter(|name| name.starts_with(BUILT))
        {
            self.forget_older(image).await?;
        }
        Ok(images)
    }

    async fn fetch(&self, executables: &Executables) -> Result<Images, KindError> {
        let base = self.base(DEBIAN).await?;
        let (node, minio, nfs, (mountlab, csi_agent, sandbox)) = try_join!(
            self.public_node(),
            base::pull(MINIO_IMAGE, self.docker, self.folders, self.observer),
            self.nfs(&base),
            self.ours(executables),
        )?;
        Ok(Images { node, minio, nfs, mountlab, csi_agent, sandbox })
    }

    async fn build(&self, executables: &Executables, builds: &GoBuilds<'_>) -> Result<Images, KindError> {
        let base = self.base(DEBIAN).await?;
        // Compiling and fetching packages don't get into each other's way; two compilations would.
        let ((node, minio), nfs, (mountlab, csi_agent, sandbox)) = try_join!(
            async {
                let node = self.node(&base, builds).await?;
                let minio = self.minio(&base, builds).await?;
                Ok((node, minio))
            },
            self.nfs(&base),
            self.ours(executables),
        )?;
        Ok(Images { node, minio, nfs, mountlab, csi_agent, sandbox })
    }

    /// kind's own node, changed for a machine whose containers can't raise limits.
    async fn public_node(&self) -> Result<String, KindError> {
        let node = base::pull(NODE_IMAGE, self.docker, self.folders, self.observer).await?;
        if can_raise_limits() {
            return Ok(node);
        }
        self.image(&Context::new("relaxed-node", recipes::RELAXED_NODE).argument("BASE", &node), None).await
    }

    async fn base(&self, release: &str) -> Result<String, KindError> {
        base::ensure(self.source, release, self.docker, self.folders, self.observer).await
    }

    async fn node(&self, base: &str, builds: &GoBuilds<'_>) -> Result<String, KindError> {
        let packages = Context::new("packages", recipes::PACKAGES).argument("BASE", base);
        let (node_packages, control_plane_packages) =
            (packages.image(Some("node-packages")), packages.image(Some("kubernetes-packages")));
        let kubernetes = GoBuilds::kubernetes_key();
        let [_, _, coredns_program] = &GO_PROGRAMS;
        let coredns_key = GoBuilds::key(coredns_program);
        let control_plane = CONTROL_PLANE_PROGRAMS.iter().fold(
            Context::new("control-plane", recipes::KUBERNETES).argument("BASE", &control_plane_packages),
            |recipe, name| recipe.program(name, builds.place(name, &kubernetes), &kubernetes),
        );
        let control_plane =
            control_plane.program("coredns", builds.place("coredns", &coredns_key), &coredns_key);
        let entry_points =
            Context::new("entry-points", recipes::ENTRY_POINTS).argument("BASE", &control_plane.image(None));
        // The finished image is named after everything below it, none of which has to be there any more.
        let image = Context::new("node", recipes::NODE)
            .argument("PACKAGES", &node_packages)
            .argument("CONTROL_PLANE", &entry_points.image(None))
            .argument("KUBERNETES", &format!("{KUBERNETES} {kubernetes}"))
            .image(None);
        if self.docker.has_image(&image).await? {
            return Ok(image);
        }
        machine::check_disk_to_build(self.folders)?;
        let (programs, ..) = try_join!(
            async {
                let programs =
                    builds.kubernetes(&[&NODE_PROGRAMS[..], &CONTROL_PLANE_PROGRAMS].concat()).await?;
                builds.by_name("coredns").await?;
                Ok(programs)
            },
            self.image(&packages, Some("node-packages")),
            self.image(&packages, Some("kubernetes-packages")),
        )?;
        let kubeadm = programs.iter().find(|(name, _)| name == "kubeadm").map(|(_, place)| place.clone());
        let kubeadm =
            kubeadm.ok_or_else(|| KindError::program("building the node", "there is no kubeadm"))?;
        let names = node::image_names(&kubeadm).await?;
        let parts = ControlPlane {
            programs: self.image(&control_plane, None).await?,
            coredns: self.image(&entry_points, Some("coredns")).await?,
            pause: self.image(&entry_points, Some("pause")).await?,
        };
        let empty = self.image(&node::recipe(&node_packages, builds, &NODE_PROGRAMS, &names), None).await?;
        let step = Step::begin(self.observer, "filling the node image");
        node::fill(self.docker, &step, &empty, &parts, &names, &image).await?;
        step.done();
        // What only the filled image was made from takes a gigabyte; what is below it stays, for the next version.
        for part in [&parts.pause, &parts.coredns, &parts.programs] {
            self.docker.command(format!("removing {part}")).args(["rmi", part]).output().await?;
        }
        Ok(image)
    }

    async fn minio(&self, base: &str, builds: &GoBuilds<'_>) -> Result<String, KindError> {
        let [_, program, _] = &GO_PROGRAMS;
        let key = GoBuilds::key(program);
        let recipe = Context::new("minio", recipes::MINIO).argument("BASE", base).program(
            "minio",
            builds.place("minio", &key),
            &key,
        );
        if !self.docker.has_image(&recipe.image(None)).await? {
            builds.by_name("minio").await?;
        }
        self.image(&recipe, None).await
    }

    async fn nfs(&self, base: &str) -> Result<String, KindError> {
        self.image(&Context::new("nfs", recipes::NFS).argument("BASE", base), None).await
    }

    /// The images with our executables, and the one that the agent is injected into: all on a base with their C library.
    async fn ours(&self, executables: &Executables) -> Result<(String, String, String), KindError> {
        let base = self.base(base::release_for_executables().await?).await?;
        let mut recipe = Context::new("mountlab", recipes::MOUNTLAB)
            .argument("BASE", &base)
            .argument("VERSION", env!("CARGO_PKG_VERSION"))
            .program("mountlab", executables.mountlab.clone(), &content_key(&executables.mountlab)?);
        if let Some(agent) = &executables.agent {
            recipe = recipe.program("agent-runtime", agent.clone(), &content_key(agent)?);
        }
        let sandbox = Context::new("sandbox", recipes::SANDBOX).argument("BASE", &base);
        let csi_agent = self.image(&recipe, Some("csi-agent")).await?;
        let mountlab = self.image(&recipe, Some("mountlab")).await?;
        let sandbox = self.image(&sandbox, None).await?;
        Ok((mountlab, csi_agent, sandbox))
    }

    /// Makes sure of the image of a recipe and returns its name.
    async fn image(&self, recipe: &Context, target: Option<&str>) -> Result<String, KindError> {
        let name = recipe.image(target);
        if self.docker.has_image(&name).await? {
            return Ok(name);
        }
        let short = name.trim_start_matches("mountlab.dev/").split(':').next().unwrap_or(&name).to_owned();
        let step = Step::begin(self.observer, format!("building image {short}"));
        let folder = tempfile::tempdir_in(self.folders.root())
            .map_err(KindError::io("making a folder in", self.folders.root()))?;
        recipe.write(folder.path())?;
        let log = self.folders.log(step.name())?;
        self.docker.build(&step, folder.path(), &name, target, recipe.arguments(), &log).await?;
        step.done();
        Ok(name)
    }

    /// Removes the images that an earlier recipe or executable left under the same name, unless a container uses them.
    async fn forget_older(&self, image: &str) -> Result<(), KindError> {
        let (repository, _) = image.split_once(':').unwrap_or((image, ""));
        let listed = self
            .docker
            .command(format!("listing the images {repository}"))
            .args(["image", "ls", "--format", "{{.Repository}}:{{.Tag}}", repository])
            .output()
            .await?;
        for older in listed.lines().map(str::trim).filter(|name| *name != image && !name.is_empty()) {
            // Refused while a container uses it: then it is removed next time.
            self.docker.command(format!("removing {older}")).args(["rmi", older]).finish().await?;
        }
        Ok(())
    }
}
