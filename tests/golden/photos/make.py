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

# Formats of scanners and old programs, and one that is not read; tiny, because nothing but decoding is looked at.
tiny = small.resize((24, 32), Image.LANCZOS)
formats = HERE / "formats"
formats.mkdir(exist_ok=True)
tiny.save(formats / "plain.png")
for kind in "raw", "tiff_lzw", "tiff_adobe_deflate", "packbits":
    tiny.save(formats / f"{kind}.tif", compression=None if kind == "raw" else kind)
tiny.save(formats / "jpeg.tif", compression="jpeg", quality=95)
turned = Image.Exif()
turned[0x0112] = 6
tiny.transpose(Image.ROTATE_90).save(formats / "turned.tif", compression="tiff_lzw", exif=turned)
tiny.convert("L").save(formats / "grey.tif", compression="tiff_lzw")
tiny.convert("L").convert("I;16").point(lambda v: v * 257).save(formats / "sixteen.tif")
tiny.convert("P", palette=Image.ADAPTIVE).save(formats / "palette.tif", compression="tiff_lzw")
tiny.save(formats / "plain.bmp")
tiny.quantize(256).save(formats / "palette.bmp")
tiny.save(formats / "photo.avif", quality=60)
