"""Labels as an RT structure set (PS3.3 A.19): closed contours on the slices of the series that they were made of."""
