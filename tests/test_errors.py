"""How other people's exceptions are quoted."""

import pytest

from nnunet_nacl.errors import first_line


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no reader\nmore", "no reader"),
        ("", "RuntimeError"),
        (
            "Exception thrown in SimpleITK ImageFileReader_Execute: /ITK/itkNiftiImageIO.cxx:2135:\n"
            "ITK ERROR: ITK only supports orthonormal direction cosines.  No orthonormal definition found!",
            "ITK only supports orthonormal direction cosines.  No orthonormal definition found!",
        ),
        (
            "Exception thrown in SimpleITK ImageFileReader_Execute: /work/sitkImageReaderBase.cxx:99:\n"
            'sitk::ERROR: Unable to determine ImageIO reader for "a.nii.gz"',
            'Unable to determine ImageIO reader for "a.nii.gz"',
        ),
        (
            "Exception thrown in SimpleITK ImageFileReader_Execute: /ITK/itkNrrdImageIO.cxx:410:\n"
            "itk::ERROR: NrrdImageIO(0x5): ReadImageInformation: Error reading a.nrrd:\n[nrrd] nrrdRead: trouble\n"
            '[nrrd] _read: hit end of header, but no "data file" given\n',
            'NrrdImageIO(0x5): ReadImageInformation: Error reading a.nrrd: [nrrd] _read: hit end of header, but no "data file" given',
        ),
    ],
)  # fmt: skip
def test_reasons_are_quoted_not_places(text, reason):
    """SimpleITK's first line says where in its source it was; the rest what was wrong."""
    assert first_line(RuntimeError(text)) == reason


def test_a_path_that_the_message_names_is_not_said_twice(tmp_path):
    missing = tmp_path / "none"
    with pytest.raises(OSError) as failed:
        missing.read_text()
    assert first_line(failed.value, missing) == "No such file or directory"
    assert str(missing) in first_line(failed.value)
    assert str(missing) in first_line(failed.value, tmp_path), "another file than the message is about"
    assert first_line(OSError("no reason of the system's"), missing) == "no reason of the system's"
