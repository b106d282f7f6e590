"""Every number that this package takes from the papers and from the original code, with its source.

Functions, estimators and the command line take their defaults from here, so that no number of a paper is written
twice. A name is that of the parameter it is the default of, after the method where several methods have such a
parameter: `NEG_OVERLAP` is `neg_overlap`, `OHEM_BATCH_SIZE` is `batch_size` of online hard example mining. What is our
own choice (sizes of blocks and files, limits of a search) stands where it is used.

R-CNN: Girshick, Donahue, Darrell, Malik, "Rich feature hierarchies for accurate object detection and semantic
segmentation", CVPR 2014, and its code, rbgirshick/rcnn (names that end in .m). Fast R-CNN: Girshick, ICCV 2015, and
rbgirshick/fast-rcnn. OHEM: Shrivastava, Gupta, Girshick, "Training region-based object detectors with online hard
example mining", CVPR 2016.
"""

# Selective search (Uijlings et al., IJCV 2013) as R-CNN section 2.1 runs it: selective_search_boxes.m.
SEARCH_WIDTH = 500  # pixels; every image is searched at this width
SEARCH_MIN_SIDE = 20  # pixels at that width; narrower and lower boxes are dropped
SEARCH_SIGMA = 0.8  # pixels; smoothing before the segmentation
SEARCH_FAST_K = (50, 100)  # thresholds and least sizes of the segmentations, fast mode
SEARCH_QUALITY_K = (50, 100, 150, 300)

# Warped crops: R-CNN appendix A, rcnn_im_crop.m.
CROP_SIZE = 227  # pixels; the input of the paper's network
CROP_PADDING = 16  # pixels of the crop on each side that show the context of the box

# Fine-tuning: R-CNN section 2.3, pascal_finetune_train.prototxt, pascal_finetune_solver.prototxt.
FINETUNE_ITERATIONS = 70_000
FINETUNE_BATCH_SIZE = 128  # windows of a mini-batch
FINETUNE_FOREGROUND = 32  # of these on objects
FINETUNE_FG_OVERLAP = 0.5  # IoU with an object from which on a window shows it
FINETUNE_STEP = 20_000  # iterations between two falls of the learning rate
NEW_LAYER_LR = 10.0  # learning rate of the new last layer, as a multiple of that of the others
NEW_LAYER_STD = 0.01  # standard deviation of its initial weights

# Stochastic gradient descent: R-CNN section 2.3 and Fast R-CNN section 2.3, with their solver and train prototxt.
LR = 1e-3
LR_DECAY = 0.1  # what the learning rate is multiplied by at every step of the schedule
BIAS_LR = 2.0  # learning rate of biases, as a multiple of that of weights
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4  # of weights; biases have none
MIRROR_PROBABILITY = 0.5  # Caffe's WindowDataLayer flips half of the windows, Fast R-CNN half of the images

# Scaling of the features: rcnn_scale_features.m, rcnn_feature_stats.m.
TARGET_NORM = 20.0  # mean L2 norm of the scaled features, so that one C serves all layers
NORM_IMAGES = 200  # the mean is taken over so many images at most,
NORM_ROWS = 200  # and over so many regions of each

# One SVM per class by hard negative mining: R-CNN section 2.3 and appendix B, rcnn_train.m.
NEG_OVERLAP = 0.3  # a region is a negative of a class below this IoU with all its objects
SVM_C = 1e-3  # weight of the loss against the regulariser
POS_LOSS_WEIGHT = 2.0  # weight of a positive's loss; a negative's is 1
BIAS_MULT = 10.0  # value of the feature that carries the bias
HARD_THRESH = -1.0001  # a negative that scores above is hard; at -1, where support vectors are, rounding would decide
EVICT_THRESH = -1.2  # a cached negative that scores below leaves the cache
RETRAIN_LIMIT = 2000  # a class is trained once more negatives than this were added
MAX_EPOCHS = 1  # passes over the images
LIBLINEAR_TOLERANCE = 0.1  # stopping tolerance of liblinear that the original leaves as it is
SEED = 3  # seed_rand.m; also RNG_SEED in Fast R-CNN's config.py

# Stop of mining by the objective: Felzenszwalb et al., PAMI 2010, code voc-dpm, train.m.
STOP_RATIO = 1.05  # objective over all data relative to the objective over the cache

# Detection and testing: rcnn_detect.m, rcnn_test.m, imdb_eval_voc.m.
DETECT_THRESH = -1.0  # only regions that score above are detections
NMS_THRESHOLD = 0.3  # a box is suppressed above this IoU with a better one of its class
MAX_PER_IMAGE = 100  # boxes of a class that are kept in one image
MAX_PER_SET_AND_IMAGE = 40  # boxes of a class that are kept over all images, times their number: 100,000 of 2,500

# Bounding-box regression: R-CNN appendix C, rcnn_train_bbox_regressor.m.
BBOX_MIN_OVERLAP = 0.6  # a region is an example above this IoU with an object
BBOX_RIDGE_LAMBDA = 1000.0  # weight of the squared weights
BBOX_WHITENING_EPS = 1e-3  # added to the eigenvalues of the targets' covariance

# Box voting: Gidaris & Komodakis, "Object detection via a multi-region and semantic segmentation-aware CNN model",
# ICCV 2015, section 5.
VOTE_IOU = 0.5  # boxes of a class vote for a box that they overlap by this IoU or more

# PASCAL VOC's measure: Everingham et al., IJCV 2010, VOCevaldet.m and VOCap.m of the devkit.
HIT_IOU = 0.5  # a detection is right from this IoU with an object on
RECALL_LEVELS = 11  # 0, 0.1, ..., 1 in VOC 2007

# Reasons of false positives: Hoiem et al., ECCV 2012, section 2; TIDE, Bolya et al., ECCV 2020, section 2.2.
BACKGROUND_IOU = 0.1  # a false positive below this IoU with every object is one on the background

# Fast R-CNN: section 2.3 and config.py, solver.prototxt.
FAST_RCNN_ITERATIONS = 40_000  # 30,000 at the first learning rate and 10,000 at the second
IMAGES_PER_BATCH = 2  # N
ROIS_PER_IMAGE = 64  # R / N
FG_FRACTION = 0.25  # largest part of the RoIs that may be foreground
FG_THRESH = 0.5  # IoU with an object from which on a RoI is foreground
BG_THRESH_HI = 0.5  # background below this IoU,
BG_THRESH_LO = 0.1  # and from this IoU on: the heuristic for hard examples
CLASS_STD, BOX_STD = 0.01, 0.001  # standard deviations of the initial weights of the two last layers
SMOOTH_L1_BETA = 1.0  # where the smooth L1 loss turns from a square into a line: equation 3
SHORT_SIDE, LONG_SIDE = 600, 1000  # pixels; the shorter side of an image, unless the longer one would exceed its limit
BOX_STDS = (0.1, 0.1, 0.2, 0.2)  # box targets are divided by these: BBOX_NORMALIZE_STDS of py-faster-rcnn's config.py

# OHEM: section 4.2 and 5.
OHEM_BATCH_SIZE = 128  # B, RoIs with gradient in a mini-batch
OHEM_NUM_IMAGES = 2  # N
OHEM_NMS_THRESHOLD = 0.7  # IoU of the suppression by loss

# SSD: Liu et al., ECCV 2016, section 2.2, "Hard negative mining".
SSD_RATIO = 3  # negatives per positive, at most

# Focal loss: Lin et al., ICCV 2017, section 3.2.
FOCAL_GAMMA = 2.0
