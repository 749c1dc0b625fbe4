package backup

// A file is cut into segments at offsets that follow from nothing but its class, so that what did not change keeps its place:
// segments have 1<<shift bytes, and after every runSegments of them twice as many, up to maxSegment. A file of any size has a
// bounded number of segments, and one that grows never gets others where it had some already.
const (
	runSegments = 1 << 17
	maxSegment  = 8 << 20

	shiftState = 14 // files that are rewritten in place, a page here and there
	shiftPlain = 20 // all others
	minShift   = 12
	maxShift   = 23
	maxSize    = 1 << 56 // of a file that a manifest may tell of, in bytes
)

// law is the shift of a class of files.
type law uint8

// at gives where segment i begins, and how long it is if the file does not end in it.
func (l law) at(i int64) (offset, size int64) {
	size = 1 << l
	for i >= runSegments && size < maxSegment {
		offset += runSegments * size
		size *= 2
		i -= runSegments
	}
	return offset + i*size, size
}

// index gives the segment that a byte is in.
func (l law) index(offset int64) (i int64) {
	size := int64(1) << l
	for size < maxSegment && offset >= runSegments*size {
		offset -= runSegments * size
		size *= 2
		i += runSegments
	}
	return i + offset/size
}

// count is how many segments a file of this size has; the last may be cut short.
func (l law) count(size int64) int64 {
	if size <= 0 {
		return 0
	}
	return l.index(size-1) + 1
}

// whole is how many segments of it are not cut short.
func (l law) whole(size int64) int64 { return l.index(max(size, 0)) }

// span gives where segment i of a file of this size begins, and how many bytes it has.
func (l law) span(i, size int64) (offset, n int64) {
	offset, n = l.at(i)
	return offset, min(n, size-offset)
}
