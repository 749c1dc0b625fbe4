package manager

import (
	"context"
	"fmt"

	"roundtable/logkey"
	"roundtable/node"
)

// takeVolume has the volume driver make an image of the node's data, which is stopped: Store copies from it. An image of an earlier try is
// thrown away first, since the node ran meanwhile.
func (v *vault) takeVolume(ctx context.Context, driver, dir string, j *journal) error {
	volume := node.Volume{Path: driver}
	if j.Volume != "" {
		if err := volume.Release(ctx, j.Volume); err != nil {
			return fmt.Errorf("manager: an image of an earlier try: %w", err)
		}
	}
	j.Volume = j.Backup
	if err := v.save(j, "note the image"); err != nil { // whatever comes of it, it is released
		return err
	}
	folder, err := volume.Take(ctx, j.Volume, dir)
	if err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	v.step("take the image")
	j.Folder = folder
	return nil
}

// release gives an image back; Forget tries again. Where the configuration names no driver any more the journal keeps the image in mind.
func (v *vault) release(ctx context.Context, j *journal) {
	driver := v.cfg().Backup.VolumeDriver
	switch {
	case j.Volume == "":
		return
	case driver == "":
		if v.orphaned(j.Volume) {
			v.log.Warn("the image of a volume is still there, and no driver that could release it", "image", j.Volume,
				"hint", "name the driver in backup.volume_driver again; or remove the image by hand, and then "+v.journalPath(j.Backup, j.Kind))
		}
		return
	}
	if err := (node.Volume{Path: driver}).Release(ctx, j.Volume); err != nil {
		v.log.Warn("the image of a volume is still there", "image", j.Volume, logkey.Err, err)
		return
	}
	j.Volume = ""
	if err := v.save(j, "release the image"); err != nil {
		v.log.Warn("what a backup left is not noted", logkey.Err, err)
	}
}

// orphaned reports whether it is the first time that an image is found without a driver.
func (v *vault) orphaned(image string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	known := v.orphans[image]
	v.orphans[image] = true
	return !known
}
