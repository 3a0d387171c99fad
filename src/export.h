/* SPDX-License-Identifier: MIT */
/* export.h - the public names; everything else is hidden. */
#ifndef HMMU_EXPORT_H
#define HMMU_EXPORT_H

#define HMMU_EXPORT __attribute__((visibility("default")))

#endif /* HMMU_EXPORT_H */
