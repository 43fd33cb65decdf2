"""A camera of a GLB file, as Blender shows it: run by a Python that has Blender's ``bpy``, which is all it needs.

``python blender_view.py mesh.glb CAMERA OUT.png WIDTH HEIGHT`` renders 64 samples a pixel with Cycles on the CPU, over
nothing, colors as they are. It prints how many cameras and faces Blender found, and its version.
"""

import json
import sys


def main(glb: str, camera: str, picture: str, width: str, height: str) -> None:
    """Write the picture."""
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=glb)
    scene, things = bpy.context.scene, list(bpy.data.objects)
    scene.camera = bpy.data.objects[camera]
    scene.render.engine, scene.cycles.device, scene.cycles.samples = "CYCLES", "CPU", 64
    scene.cycles.use_denoising, scene.cycles.pixel_filter_type = False, "BOX"
    scene.render.threads_mode, scene.render.threads = "FIXED", 1
    scene.render.resolution_x, scene.render.resolution_y = int(width), int(height)
    scene.render.film_transparent, scene.view_settings.view_transform = True, "Standard"
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGBA"
    scene.render.filepath = picture
    bpy.ops.render.render(write_still=True)
    faces = sum(len(thing.data.polygons) for thing in things if thing.type == "MESH")
    found = {"cameras": sum(thing.type == "CAMERA" for thing in things), "faces": faces}
    print(json.dumps(found | {"version": bpy.app.version_string, "moving": len(bpy.data.actions)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
