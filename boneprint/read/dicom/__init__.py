"""DICOM: CT series in and out, radiographs in. The only room that imports pydicom."""
