//! How chosen functions are claimed at boot: the table of claims, or vfio ids.
