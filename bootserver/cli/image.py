"""``bootserver image``: golden images, which nodes are installed from. Its commands are in modules of their own."""

from __future__ import annotations

from bootserver.cli.lazy import Late, LateGroup

SECTIONS = {
    "Looking": {
        "list": Late("bootserver.cli.image_look:list_", "List images."),
        "show": Late("bootserver.cli.image_look:show_image", "Show an image, who uses it, and whether it can boot."),
        "diff": Late("bootserver.cli.image_look:diff", "Show what two images differ in."),
    },
    "Making": {
        "create": Late("bootserver.cli.image_make:create", "Make an image from a distribution's packages."),
        "import": Late("bootserver.cli.image_make:import_", "Make an image of a folder, a tar, a container, a squashfs."),
        "capture": Late("bootserver.cli.image_nodes:capture", "Make an image of a running node."),
        "clone": Late("bootserver.cli.image_make:clone", "Copy an image."),
    },
    "Nodes": {
        "push": Late("bootserver.cli.image_nodes:push", "Bring running nodes in line with their image."),
        "drift": Late("bootserver.cli.image_nodes:drift", "Say how running nodes differ from their image."),
    },
    "Altering": {
        "shell": Late("bootserver.cli.image_alter:shell", "Work in an image, as root of it."),
        "check": Late("bootserver.cli.image_alter:check", "Write down what was altered by hand; find and mend what it lacks."),
        "remove": Late("bootserver.cli.image_alter:remove", "Remove an image."),
    },
}

image = LateGroup(name="image", sections=SECTIONS, help="Golden images: file trees that nodes are installed from. For root only.")
