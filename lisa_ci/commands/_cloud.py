"""Images that a cloud knows by name: what stands behind the name that a pipeline gives."""

from __future__ import annotations

from lisa_ci.errors import PipelineError
from lisa_ci.model import AZURE, CloudImage, ImageSource, Pipeline
from lisa_ci.platforms.azure import images_ref


def find_cloud_image(source: ImageSource, pipeline: Pipeline) -> CloudImage:
    """The exact image. Azure is only asked, and its SDK only loaded, where the name is not exact. PipelineError."""
    image = images_ref.parse(source.azure or "")
    regions = [profile.azure.regions for profile in pipeline.profiles if profile.platform == AZURE and profile.azure]
    if not regions:
        raise PipelineError(f"no profile can boot {image}", hint="add a profile of platform 'azure'")
    if images_ref.is_exact(image):
        return CloudImage(platform=AZURE, name=str(image), arch=source.arch, firmware=source.firmware)
    try:
        from lisa_ci.platforms.azure import client, images  # noqa: PLC0415 - it loads the SDK
    except ModuleNotFoundError as error:
        hint = "pip install 'lisa-ci[azure]', or name the exact version"
        raise PipelineError(f"{image} is looked up with Azure's SDK, and {error.name} is missing", hint=hint) from error
    return images.cloud_image(client.connect(), source, image, regions[0][0])
