"""Makes photos as cameras and programs save them, of the public-domain portrait in ../mtcnn (Pillow 11)."""

from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
portrait = Image.open(HERE.parent / "mtcnn" / "portrait.png").convert("RGB")
small = portrait.resize((192, round(192 * portrait.height / portrait.width)), Image.LANCZOS)
small.save(HERE / "plain.jpg", quality=92)
small.convert("CMYK").save(HERE / "cmyk.jpg", quality=92)
turned = small.transpose(Image.ROTATE_90)
exif = Image.Exif()
exif[0x0112] = 6  # "turn it by 90 degrees clockwise to see it upright"
turned.save(HERE / "turned.jpg", quality=92, exif=exif)
small.save(HERE / "photo.webp", quality=90)
grey = small.convert("L")
grey.save(HERE / "grey.png")
grey.convert("I;16").point(lambda v: v * 257).save(HERE / "sixteen.png")
clear = small.convert("RGBA")
clear.putalpha(Image.new("L", small.size, 255))
clear.save(HERE / "alpha.png")
